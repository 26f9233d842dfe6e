"""publish.py: copies a report into reports/published and refreshes what README says of it; no figure there is written by hand.

The README's block stands between two marks and is computed from reports/published/results.json; a check holds it to that.
"""

import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import human
import reach
import results as find
import schema
import stats
import targets

BEGIN = "<!-- the answer: computed from reports/published/results.json by `report --publish` -->"
END = "<!-- end of the answer -->"
LARGEST = 16 << 20  # all published files together, in bytes; a default report has 8 MiB, a full one half as much again


class CannotPublish(Exception):
    """Why not, in one line."""


def published(root):
    return Path(root) / "reports/published"


# ---- README's block ----

def block(results):
    """Five lines: the two sentences of the question answered, then the trade, real Go, and what can be trusted."""
    lines = [_pause(results), _moved(results), _restructured(results), _real(results), _trust(results)]
    return "\n".join([BEGIN, *(f"{place}. {line}" for place, line in enumerate(lines, 1)), END])


def _serial(results, stacks):
    return find.first(find.headline_rows(results, cache="cold", stacks=stacks, policy=find.SERIAL))


def _median(values):
    return human.time(stats.median(values))


def _pause(results):
    rows = [row for row in (_serial(results, stacks) for stacks in find.HEADLINE_STACKS) if row]
    if not rows:
        return "**A tiny bit slower?** Not measured in this run."
    parts = ", ".join(f"{_median(row['pause_ns'])} at {human.count(row['stacks'])}" for row in rows)
    last = rows[-1]
    each = stats.median(row_each(last))
    chase = stats.median(stats.ratios(last["pause_ns"], last["chase_ns"]))
    return (f"**A tiny bit slower?** Freed in the pause, stacks of {human.size(last['stack_bytes'])} add {parts} stacks: "
            f"{human.digits(each)} ns a stack at the most n, {human.ratio(chase)} one dependent cache miss each"
            f"{', so no tuning helps' if chase <= targets.CHASE_TARGET[1] else ''}.")


def row_each(row):
    return [ns / row["stacks"] for ns in row["pause_ns"]]


def _moved(results):
    rows = [find.first(find.hand_off_rows(results, cache="warm", stacks=stacks)) for stacks in find.HEADLINE_STACKS]
    rows = [row for row in rows if row]
    if not rows:
        return "**Delay it until the mutators run?** Not measured in this run."
    most = rows[-1]
    text = (f"**Delay it until the mutators run?** The pause keeps {_median(most['pause_ns'])} at {human.count(most['stacks'])} "
            f"stacks; the same work, {_median(most['after_ns'])}, comes after it")
    ways = [row for row in reach.after_rows(results, find.HAND_OFF[0]) if row["stall_ns"]]
    if ways:
        worst, best = (pick(ways, key=lambda row: stats.median(row["stall_ns"])) for pick in (max, min))
        text += (f", and a mutator waits {_median(worst['stall_ns'])} (“{worst['variant']}”) or {_median(best['stall_ns'])} "
                 f"(“{best['variant']}”) for one allocation or free at {human.count(reach.AFTER_STACKS)} of "
                 f"{human.size(reach.AFTER_BYTES)}")
    return text + ". Deferral alone moves the cost; it does not remove it."


def _restructured(results):
    bitmap = find.first(sorted(find.headline_rows(results, cache="cold", policy=reach.BITMAP), key=lambda row: -row["stacks"]))
    serial = _serial(results, bitmap["stacks"]) if bitmap else None
    if not serial:
        return "**Restructure it?** Not measured in this run."
    cheaper = stats.median(stats.ratios(serial["pause_ns"], bitmap["pause_ns"]))
    text = (f"**Restructure it?** `bitmap` adds {_median(bitmap['pause_ns'])} at {human.count(bitmap['stacks'])} stacks, "
            f"{human.digits(cheaper, 2)} times less than `serial`")
    after = find.first(row for row in reach.after_rows(results, reach.BITMAP) if row["stall_ns"])
    if after:
        text += (f"; after the restart its work is over in {_median(after['drain_over_ns'])}, and the longest that an allocation or free "
                 f"waits in a cycle is {_median(after['stall_ns'])}, in the worst of {len(after['stall_ns'])} "
                 f"{human.time(max(after['stall_ns']))} (the machine alone: {_median(after['hiccup_ns'])}, {human.time(max(after['hiccup_ns']))}; "
                 f"{human.count(after['stacks'])} stacks of {human.size(after['stack_bytes'])})")
    return text + "."


def _real(results):
    rows = [row for row in targets.go_rows(results) if row.go["gomaxprocs"] == 1 and row.cache == "cold"]
    text = "**Real Go?** "
    if rows:
        inside = sum(row.verdict.startswith("met") for row in rows)
        text += (f"Its own drain, timed at the commit of 2014, takes {human.digits(min(row.go['ns_per_stack_min'] for row in rows))} to "
                 f"{human.digits(max(row.go['ns_per_stack_max'] for row in rows))} ns a stack; `serial` under the same program lies "
                 f"in its range at {inside} of {len(rows)} equal n and sizes{_at_this_speed(results)}")
    else:
        text += "Its program was not run in this run"
    live = find.go_live_rows(results)
    if live:
        row = live[-1]
        text += (f". {live[0]['version']} here stops the world for {_median(row['pause_ns'])} with {human.count(row['stacks'])} "
                 "goroutines and frees after it, as the commit suggested")
    return text + "."


def _at_this_speed(results):
    speed = reach.go_speed(results)
    if not speed:
        return ""
    inside, _ = reach.inside_at_this_speed(results)
    return (f", and at {inside} when the range is widened by what {speed.here['version']} says of the two machines "
            f"({human.ratio(speed.ratio.mid)} its time there)")


def _trust(results):
    share = find.aa_share(results)
    text = f"**How sure?** {reach.summary(results)}"
    return text + (f" The same thing, measured twice in turns, differs from itself by up to {human.percent(share)}: no smaller "
                   "difference is claimed." if share else "")


def readme_with(text, results):
    """README's text with the block of these results."""
    found = re.search(re.escape(BEGIN) + ".*?" + re.escape(END), text, re.DOTALL)
    if not found:
        raise CannotPublish(f"README.md: the marks of the answer are missing: {BEGIN} … {END}")
    return text[:found.start()] + block(results) + text[found.end():]


def problem(root):
    """What README says that the published results do not; '' if nothing."""
    try:
        text = (Path(root) / "README.md").read_text(encoding="utf-8")
        expected = readme_with(text, schema.load_results(published(root) / "results.json"))
    except (schema.BadResults, CannotPublish, OSError) as error:
        return str(error)
    return "" if text == expected else "README.md's answer is not what reports/published/results.json says; run: ./stackdrain report --refresh-readme"


def refresh(root):
    path = Path(root) / "README.md"
    path.write_text(readme_with(path.read_text(encoding="utf-8"), schema.load_results(published(root) / "results.json")),
                    encoding="utf-8")


# ---- files ----

KEPT = ("index.html", "results.json", "*.png", "*.csv")


def publish(report, root):
    """Copies a report's page, figures and pictures over those that are published; the names of the files."""
    report = Path(report)
    files = sorted({path for pattern in KEPT for path in report.glob(pattern)})
    if not {"index.html", "results.json"} <= {path.name for path in files}:
        raise CannotPublish(f"{report}: no report is there; make one first: ./stackdrain report")
    results = schema.load_results(report / "results.json")
    if results["context"]["commit"].endswith("-dirty"):
        raise CannotPublish("this report is of uncommitted changes, so nobody could repeat it; commit, then measure")
    size = sum(path.stat().st_size for path in files)
    if size > LARGEST:
        largest = ", ".join(f"{path.name} {human.size(path.stat().st_size)}"
                            for path in sorted(files, key=lambda path: -path.stat().st_size)[:3])
        raise CannotPublish(f"{human.size(size)} are too much to commit (at most {human.size(LARGEST)}): {largest}")
    readme_with((Path(root) / "README.md").read_text(encoding="utf-8"), results)
    target = published(root)
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        path.unlink()
    for path in files:
        shutil.copyfile(path, target / path.name)
    page = target / "index.html"  # SVGs are in the page itself, and not beside it
    page.write_text(re.sub(r'<a href="[\w-]+\.svg">SVG</a>, ', "", page.read_text(encoding="utf-8")), encoding="utf-8")
    refresh(root)
    return [path.name for path in files]
