"""The reference page: what `./stackdrain list --markdown` prints, made of the tables alone.

fuzz/REFERENCE.md is that page, committed; `./stackdrain test --only reference` fails when it is not what the tables say.
"""

import re

COSTS = {"1": "after every operation", "n": "by a walk", "q": "when quiescent", "c": "where things overlap"}

HEAD = """\
# Reference

Made by `./stackdrain list --markdown --out fuzz/REFERENCE.md` from the tables that the code is made of. What the words mean:
[target/any_pool.h](../target/any_pool.h) (a pool, a cycle), [target/goroutine.h](../target/goroutine.h) (a stack's owner),
[target/collector.h](../target/collector.h) (markers, what they hold).
"""


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def table(columns, rows):
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def linked(text, path):
    return f"[{text}](../{path})"


def policies(lists, root):
    rows = []
    for row in lists["policies"]:
        file = f"target/drain/{row['name'].replace('-', '_')}.cc"
        name = f"`{row['name']}`"
        rows.append([linked(name, file) if (root / file).exists() else name, cell(row["what"]), cell(row["origin"]),
                     "" if row["sound"] else "not sound"])
    return ["Where a stack waits that was shrunk while a mark ran. Each claims what the checker holds it to: "
            + linked("target/drain/policies.cc", "target/drain/policies.cc") + ".", "",
            *table(["policy", "where it waits, where it is freed", "from", ""], rows)]


def operations(lists, _):
    rows = [[f"`{row['name']}`", "`" + row["form"].removeprefix(row["name"]).strip().replace("|", "\\|") + "`"
             if row["form"] != row["name"] else "", cell(row["what"])] for row in lists["operations"]]
    return ["A program is a list of these, one a line or two bytes each: " + linked("fuzz/program.h", "fuzz/program.h")
            + " is the table, " + linked("fuzz/machine.cc", "fuzz/machine.cc") + " does them. No program is invalid: what makes no sense in a "
            "state does nothing.", "", *table(["operation", "arguments", "does"], rows)]


def invariants(lists, _):
    by = {}
    for row in lists["defects"]:
        for name in row["reported_by"]:
            by.setdefault(name, []).append(f"`{row['name']}`")
    rows = [[row["name"], cell(row["what"]), cell(row["held"]), COSTS[row["cost"]] + ("; needs places" if row["needs_places"] else ""),
             ", ".join(by.get(row["name"], []))] for row in lists["invariants"]]
    return ["What must hold: " + linked("fuzz/invariants.h", "fuzz/invariants.h") + " is the table, " + linked("fuzz/checker.cc", "fuzz/checker.cc")
            + " holds it. \"Needs places\": not checked of a pool that does not show its spans and slots.", "",
            *table(["id", "what must hold", "how it is held", "when", "defects that it may report"], rows)]


def defects(lists, _):
    rows = [[f"`{row['name']}`", cell(row["what"]), source(row["reference"]), " ".join(row["reported_by"])] for row in lists["defects"]
            if row["name"] != "none"]
    return [f"{len(rows)} bugs that can be planted, most of them Go's own; {linked('target/defects.h', 'target/defects.h')} is the table, and "
            "each has a program in [corpus](../corpus) that catches it, or, where one thread can't, a schedule in "
            "[corpus/schedule_fuzzer](../corpus/schedule_fuzzer).", "",
            *table(["defect", "what goes wrong", "from", "may be reported by"], rows)]


def faults(lists, _):
    rows = [[f"`{row['name']}`", cell(row["what"]), cell(row["ends"])] for row in lists["faults"]]
    return ["What a scheduled program may meet, and how it must end: " + linked("fuzz/faults.h", "fuzz/faults.h") + " is the table, "
            "[corpus/schedule_fuzzer](../corpus/schedule_fuzzer) has a program for each.", "",
            *table(["fault", "what happens", "how it ends"], rows)]


def source(reference):
    """Go's issues and commits as links."""
    def link(match):
        word = match[0]
        kind = "issues/" + word[1:] if word.startswith("#") else "commit/" + word
        return f"[{word}](https://github.com/golang/go/{kind})"
    return "ours" if reference == "-" else re.sub(r"#\d+|\b[0-9a-f]{10}\b", link, cell(reference))


def plain(what, sentence):
    def rows(lists, _):
        return [sentence, "", *table([what, ""], [[f"`{row['name']}`", cell(row["what"])] for row in lists[what + "s"]])]
    return rows


# The page's sections, by what `list` calls them.
SECTIONS = {
    "policies": policies,
    "operations": operations,
    "invariants": invariants,
    "defects": defects,
    "faults": faults,
    "fuzzers": plain("fuzzer", "One file each in this folder; `./stackdrain fuzz`."),
    "benchmarks": plain("benchmark", "One file each in [benchmarks/](../benchmarks); `./stackdrain bench`."),
    "peers": plain("peer", "Allocators measured beside ours: [benchmarks/peers/allocators.txt](../benchmarks/peers/allocators.txt); "
                   "`./stackdrain bench --pairs`."),
}


def page(lists, root):
    """The whole page of {section: its rows as `list SECTION --json` has them}."""
    lines = [HEAD]
    for name, section in SECTIONS.items():
        lines += [f"## {name[0].upper() + name[1:]}", "", *section(lists, root), ""]
    return "\n".join(lines).rstrip() + "\n"


def one(name, lists, root):
    return "\n".join(SECTIONS[name](lists, root)) + "\n"
