"""Source coverage of target/ by the corpus: reads what llvm-cov exports, and the arguments that stand beside the code.

What no program can reach is argued in one line:

    // not reached by programs: WHY

In the parts that another harness than the programs' is there for (oss_fuzz.py has them) it says "by seeds".

On a line of its own it is about the whole statement or function that begins behind it; at a line's end, about that line.
An argument is stale, and an error, when nothing in it is uncovered, or when something inside its braces is reached after
all.

What is counted: lines, and each of a branch's two ways; a template's or inline function's over all its instances. What is
not: what stands in a macro's definition (so no assertion's failing: that is a bug of ours, not something to reach), lines
of brackets alone, and planted defects, which are compiled out: `if (planted(…)) …` and what it guards.
"""

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

MARK = re.compile(r"//\s*not reached by (?:programs|seeds):\s*(.*?)\s*$")
PLANTED = re.compile(r"\bplanted\(")


class Mistake(Exception):
    """What llvm said does not serve, or an argument can't be read; printed as one line."""


@dataclass
class Counts:
    """How often what one file has was reached, over all its instances and all binaries."""
    lines: dict = field(default_factory=dict)     # line: count
    left_out: set = field(default_factory=set)    # lines that are compiled out
    branches: dict = field(default_factory=dict)  # (line, column, end line, end column): [times true, times false]
    decisions: dict = field(default_factory=dict)  # the same place: for each condition, whether it was seen to decide


@dataclass
class Argument:
    line: int    # where the comment is
    first: int   # the statement or function: its first line,
    header: int  # the last line of what stands before its braces,
    last: int    # and its last line
    why: str
    covers: int = 0  # uncovered lines and branches that it argues


# ---- llvm-cov's export ----

@dataclass
class Segment:
    count: int
    has_count: bool
    is_entry: bool
    is_gap: bool

    def is_compiled_out(self):
        return self.is_entry and not self.has_count


def line_counts(segments):
    """A line's count, as llvm-cov reckons it: the most of the regions that begin there and of the one it begins in (but
    where that is the gap behind an `if`, of what goes on there). And the lines that are compiled out."""
    by_line = {}
    for line, _, count, has_count, is_entry, is_gap in segments:
        by_line.setdefault(line, []).append(Segment(count, has_count, is_entry, is_gap))
    counts, left_out, around = {}, set(), Segment(0, False, False, False)
    for line in range(min(by_line, default=1), max(by_line, default=0) + 1):
        here = by_line.get(line, [])
        if around.is_compiled_out() or (here and here[0].is_compiled_out()):
            left_out.add(line)
        else:
            goes_on = around.is_gap and bool(here) and here[0].has_count
            seen = [segment.count for segment in here if segment.has_count and segment.is_entry and not segment.is_gap]
            seen += [here[0].count] if goes_on else [around.count] if around.has_count else []
            if seen:
                counts[line] = max(seen)
        if here:
            around = here[-1]
    return counts, left_out


def add_export(files, export, wanted):
    """Adds one binary's `llvm-cov export` to what is known of the wanted files: {path: Counts}."""
    for row in export["data"][0]["files"]:
        if Path(row["filename"]) not in wanted:
            continue
        counts = files.setdefault(Path(row["filename"]), Counts())
        lines, left_out = line_counts(row["segments"])
        counts.left_out |= left_out
        for line, count in lines.items():
            counts.lines[line] = counts.lines.get(line, 0) + count
        for *place, true, false, _, _, _ in row["branches"]:
            both = counts.branches.setdefault(tuple(place), [0, 0])
            both[0] += true
            both[1] += false
        for *place, _, _, seen in row["mcdc_records"]:
            before = counts.decisions.get(tuple(place), [False] * len(seen))
            counts.decisions[tuple(place)] = [a or b for a, b in zip(before, seen)]


# ---- the source ----

def code_of(line):
    """A line without its comment, and without what stands in quotes."""
    return re.sub(r"//.*", "", re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'', '""', line)).rstrip()


def extent(lines, first):
    """Of the statement or function that begins on a line: the last line of its header, and its last line."""
    depth, header = 0, None
    for number in range(first, len(lines) + 1):
        code = code_of(lines[number - 1])
        if header is None and code.endswith("{"):
            header = number
        depth += sum(code.count(c) for c in "({[") - sum(code.count(c) for c in ")}]")
        if depth <= 0 and code.endswith((";", "}", ":")):
            return header or number, number
    return header or first, first


def arguments_of(lines, path):
    found = []
    for number, line in enumerate(lines, 1):
        match = MARK.search(line)
        if match is None:
            continue
        if not match[1]:
            raise Mistake(f"{path}:{number}: an argument without a reason; say why no program gets there")
        if code_of(line).strip():
            found.append(Argument(number, number, number, number, match[1]))
            continue
        first = next((n for n in range(number + 1, len(lines) + 1) if code_of(lines[n - 1]).strip()), None)
        if first is None:
            raise Mistake(f"{path}:{number}: an argument with no code behind it; put it before what it is about")
        found.append(Argument(number, first, *extent(lines, first), match[1]))
    return found


def uncounted_lines(lines):
    """Lines that say nothing by themselves: macros' definitions, the preprocessor's, brackets alone."""
    found, goes_on = set(), False
    for number, line in enumerate(lines, 1):
        directive = goes_on or line.lstrip().startswith("#")
        if directive or not re.search(r"\w", code_of(line)):
            found.add(number)
        goes_on = directive and line.endswith("\\")
    return found


def planted_lines(lines):
    """Lines of statements that a planted defect alone runs: what `if (… planted(…) …)` guards."""
    inside = set()
    for number, line in enumerate(lines, 1):
        if not PLANTED.search(code_of(line)):
            continue
        begin = next((n for n in range(number, max(0, number - 3), -1) if lines[n - 1].lstrip().startswith("if (")), None)
        head = " ".join(code_of(text) for text in lines[begin - 1:number]) if begin else ""
        if "||" in head or "!planted(" in head or not head:
            continue
        inside.update(guarded_lines(lines, begin, number))
    return inside


def guarded_lines(lines, begin, end):
    """Of an `if` whose condition goes from line `begin` to `end`: the lines behind it that it guards."""
    if code_of(lines[end - 1]).endswith(")"):
        return {end + 1}
    if not code_of(lines[end - 1]).endswith("{"):
        return set()
    indent = len(lines[begin - 1]) - len(lines[begin - 1].lstrip())
    close = next(n for n in range(end + 1, len(lines) + 1) if lines[n - 1].startswith(" " * indent + "}"))
    return set(range(end + 1, close))


# ---- what is covered, argued, neither ----

@dataclass
class FileReport:
    name: str
    lines: int = 0
    lines_covered: int = 0
    lines_argued: int = 0
    branches: int = 0
    branches_covered: int = 0
    branches_argued: int = 0
    conditions: int = 0
    conditions_covered: int = 0
    conditions_argued: int = 0
    uncovered: list = field(default_factory=list)  # {"line", "what", "text"}
    arguments: list = field(default_factory=list)  # {"line", "why", "covers"}
    stale: list = field(default_factory=list)      # {"line", "why", "because"}


class Judge:
    """Holds one file's counts against its arguments."""

    def __init__(self, name, text, counts):
        self.source, self.counts = text.splitlines(), counts
        self.arguments = arguments_of(self.source, name)
        self.beside = planted_lines(self.source) | uncounted_lines(self.source) | counts.left_out
        self.report = FileReport(name)

    def run(self):
        self._lines()
        self._branches()
        self._conditions()
        for argument in self.arguments:
            self._settle(argument)
        self.report.uncovered.sort(key=lambda row: row["line"])
        return self.report

    def _argument_at(self, line):
        """The innermost one."""
        around = [argument for argument in self.arguments if argument.first <= line <= argument.last]
        return min(around, key=lambda argument: argument.last - argument.first, default=None)

    def _is_argued(self, line, what, text):
        argument = self._argument_at(line)
        if argument is None:
            self.report.uncovered.append({"line": line, "what": what, "text": text})
            return False
        argument.covers += 1
        return True

    def _lines(self):
        for line, count in sorted(self.counts.lines.items()):
            if line in self.beside:
                continue
            self.report.lines += 1
            if count != 0:
                self.report.lines_covered += 1
            elif self._is_argued(line, "line", self.source[line - 1].strip()):
                self.report.lines_argued += 1

    def _branches(self):
        for place, (true, false) in sorted(self.counts.branches.items()):
            line = place[0]
            compiled_out = true == false == 0 and PLANTED.search(self.source[line - 1])
            if line in self.beside or compiled_out:
                continue
            for way, count in (("true", true), ("false", false)):
                self.report.branches += 1
                if count != 0:
                    self.report.branches_covered += 1
                elif self._is_argued(line, f"never {way}", self.text_at(place)):
                    self.report.branches_argued += 1

    def _conditions(self):
        for place, decides in self.counts.decisions.items():
            # With a planted defect folded away nothing but one condition is left: that is its branch.
            if PLANTED.search(self.text_at(place)) or place[0] in self.beside:
                continue
            argued = any(self._argument_at(line) for line in range(place[0], place[2] + 1))
            self.report.conditions += len(decides)
            self.report.conditions_covered += sum(decides)
            self.report.conditions_argued += decides.count(False) if argued else 0

    def text_at(self, place):
        line, column, end_line, end_column = place
        first = self.source[line - 1].encode()
        if line == end_line:
            return first[column - 1:end_column - 1].decode()
        between = self.source[line:end_line - 1]
        last = self.source[end_line - 1].encode()[:end_column - 1].decode()
        return " ".join(part.strip() for part in (first[column - 1:].decode(), *between, last))

    def _settle(self, argument):
        reached = [line for line in range(argument.header + 1, argument.last + 1)
                   if self.counts.lines.get(line, 0) != 0 and line not in self.beside]
        row = {"line": argument.line, "why": argument.why}
        if argument.covers == 0:
            self.report.stale.append(row | {"because": "all of it is reached, or it is inside another argument"})
        elif reached:
            self.report.stale.append(row | {"because": f"line {reached[0]} is reached: {self.source[reached[0] - 1].strip()}"})
        else:
            self.report.arguments.append(row | {"covers": argument.covers})


def share(report):
    """Percent of the lines that are covered, of those that are not argued."""
    counted = report.lines - report.lines_argued
    return 100 * report.lines_covered / counted if counted else 0.0


def judge(files, root):
    """The reports of {path: Counts}, in the order of names. A file without a count still has its arguments read."""
    return [Judge(str(path.relative_to(root)), path.read_text(encoding="utf-8"), counts).run()
            for path, counts in sorted(files.items())]


# ---- telling ----

KINDS = ("lines", "branches", "conditions")


def totals(reports):
    return {name: sum(getattr(report, name) for report in reports) for kind in KINDS
            for name in (kind, f"{kind}_covered", f"{kind}_argued")}


def as_json(reports):
    return {"totals": totals(reports), "files": [vars(report) for report in reports]}


def fraction(row, kind):
    """Covered of what is not argued."""
    count = row[kind] - row[f"{kind}_argued"]
    covered = row[f"{kind}_covered"]
    return f"{covered} of {count}" + (f" ({100 * covered / count:.1f} %)" if covered != count else "")


def as_text(reports):
    rows = [("", "lines", "branches", "MC/DC conditions")]
    rows += [(report.name, *(fraction(vars(report), kind) for kind in KINDS)) for report in reports if report.lines]
    total = totals(reports)
    rows.append(("all", *(fraction(total, kind) for kind in KINDS)))
    text = [f"{name:<38}{lines:>22}{branches:>22}{conditions:>24}" for name, lines, branches, conditions in rows]
    argued = [(report.name, row) for report in reports for row in report.arguments]
    text.append(f"\nargued, not counted above: {total['lines_argued']} lines, {total['branches_argued']} branches, "
                f"{total['conditions_argued']} conditions; {len(argued)} arguments")
    text += [f"  {name}:{row['line']}: {row['why']}" for name, row in argued]
    return "\n".join([*text, *problems(reports)])


def problems(reports):
    """One line for each thing that is not reached and not argued, and for each argument that does not hold."""
    return [f"{report.name}:{row['line']}: {row['what']}: {row['text']}" for report in reports for row in report.uncovered] + [
        f"{report.name}:{row['line']}: stale argument ({row['why']}): {row['because']}" for report in reports for row in report.stale]


# ---- llvm ----

def called(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Mistake(f"{Path(command[0]).name} ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def sources(root):
    """What is measured: target, without its tests and what they share."""
    return {path for path in (root / "target").rglob("*") if path.suffix in (".cc", ".h")
            and not path.stem.endswith("_test") and path.name != "testing.h"}


def measure(root, profiles):
    """Reports from {binary: its .profraw files}. Each binary has its own data: they share names, not functions."""
    wanted, files = sources(root), {}
    for binary, raw in profiles.items():
        data = merged(raw[0].with_suffix(".profdata"), raw)
        add_export(files, json.loads(called(["llvm-cov-19", "export", "-format=text", f"-instr-profile={data}", binary])), wanted)
    for path in wanted - files.keys():  # nothing to run in it; its arguments, if any, are stale
        files[path] = Counts()
    return judge(files, root)


def merged(out, raw):
    called(["llvm-profdata-19", "merge", "-sparse", f"-output={out}", *raw])
    return out


def write_html(root, profiles, out):
    """llvm-cov's own pages, with nothing argued away."""
    raw = [path for paths in profiles.values() for path in paths]
    data = merged(raw[0].with_name("all.profdata"), raw)
    binaries = list(profiles)
    called(["llvm-cov-19", "show", "-format=html", f"-output-dir={out}", f"-instr-profile={data}", "-show-branches=count",
            "-show-mcdc", "-project-title=target, by the corpus", binaries[0],
            *(f"-object={binary}" for binary in binaries[1:]), f"-sources={root / 'target'}",
            r"-ignore-filename-regex=_test\.cc$|testing\.h$"])
