"""The section of targets: what was to be reached, and whether this run reaches it."""

from typing import NamedTuple

import human
import reach
import results as find
import stats
import tables
from tables import Html, small, with_range

HAND_OFF_TARGET_NS = 200
SLOPE_TARGET_NS = 0.001
CHASE_TARGET = (0.75, 1.25)
CHASE_FROM = 65536


def targets(results, _):
    return Html(reach.table(results) + reach.after_table(results) + _hand_off_target(results) + _chase_target(results)
                + _go_target(results))


def _hand_off_target(results):
    head = Html(f"<h3>The hand-off costs at most {HAND_OFF_TARGET_NS} ns at every n</h3>")
    rows = find.hand_off_rows(results, cache="warm")
    if not rows:
        return head + tables.missing("The hand-off was not measured with a warm pool in this run.")
    floors = find.by_stacks(find.headline_rows(results, cache="warm", policy=find.FLOOR))
    body, estimates = [], []
    for row in rows:
        floor = floors.get(row["stacks"])
        used = [stats.estimate(row["pause_ns"]), stats.estimate(floor["pause_ns"]) if floor else None,
                stats.estimate(stats.differences(row["pause_ns"], floor["pause_ns"])) if floor else None]
        estimates += used
        body.append([human.count(row["stacks"]), *(with_range(one) for one in used),
                     tables.judged(used[0], 0, HAND_OFF_TARGET_NS)])
    headers = ("stacks", "hand-off, p50", f"floor: {find.FLOOR}", "difference, in turns", "target")
    return Html(head + tables.table(headers, body) + tables.paragraph(
        "Warm: as at the end of a real mark, the pool itself was in use a moment ago, and in a repetition just before, "
        "for which nothing was flushed but stacks. The floor is the same call in "
        f"a policy that has nothing to hand over. {_slope(rows, floors)} {tables.range_kind(estimates)}", "note"))


def _slope(rows, floors):
    line = stats.fit_line([(row["stacks"], ns) for row in rows for ns in row["pause_ns"]])
    if not line:
        return "Too few numbers of stacks for a slope."
    text = (f"Slope over n: {human.digits(line.slope, 2)} ns a stack (95 % CI {human.digits(line.low, 2)} to "
            f"{human.digits(line.high, 2)}; target below {SLOPE_TARGET_NS:g}: {_slope_verdict(line)})")
    floor = stats.fit_line([(row["stacks"], ns) for row in floors.values() for ns in row["pause_ns"]])
    if floor:
        between = f"{human.digits(floor.low, 2)} to {human.digits(floor.high, 2)}"
        text += f"; of the floor {human.digits(floor.slope, 2)} ({between})"
        if max(floors) < rows[-1]["stacks"]:
            text += f", which was measured only up to {human.count(max(floors))}"
    return text + "."


def _slope_verdict(line):
    if line.high < SLOPE_TARGET_NS:
        return "met"
    return "not met" if line.low >= SLOPE_TARGET_NS else "undecided"


def _chase_target(results):
    head = Html(f"<h3>Serial is within ±25 % of a same-run pointer chase from {human.count(CHASE_FROM)} stacks on</h3>")
    body, estimates = [], []
    for row in find.drain_rows(results, policy=find.SERIAL):
        pairs = stats.estimate(stats.ratios(row["pause_ns"], row["chase_ns"]))
        if row["stacks"] >= CHASE_FROM and pairs:
            estimates.append(pairs)
            body.append([_shape(row), find.conditions(row),
                         with_range(pairs, human.ratio), pairs.count, tables.judged(pairs, *CHASE_TARGET)])
    if not body:
        return head + tables.missing("Serial was not measured with so many stacks in this run.")
    return Html(head + tables.table(("stacks", "conditions", "serial / chase", "pairs", "target"), body, texts=2)
                + tables.paragraph(f"The ratio is taken within each repetition. "
                                   f"{tables.range_kind(estimates)}", "note"))


def _shape(row):
    text = f"{human.count(row['stacks'])} × {human.size(row['stack_bytes'])}"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


class GoRow(NamedTuple):
    """Serial under real Go's program beside a row of real Go's at equal n and size."""
    row: dict
    go: dict
    cache: str
    each: stats.Estimate
    verdict: str


def go_rows(results):
    found = []
    for row in sorted(results.get("go_program", ()), key=lambda row: (row["stack_bytes"], row["stacks"], row["cache"])):
        each = stats.estimate([ns / row["stacks"] for ns in row["drain_ns"]])
        for go in find.go_rows(results, stacks=row["stacks"], stack_bytes=row["stack_bytes"]):
            if go["tree"] != find.GO_AFTER and each:
                found.append(GoRow(row, go, row["cache"], each,
                                   tables.verdict_of(each, go["ns_per_stack_min"], go["ns_per_stack_max"])))
    return found


TREES = {"seed": "2014, the commit", "go14": "go1.4.3"}


def _go_target(results):
    head = Html("<h3>Serial beside real Go, at equal n and size, under the same program</h3>")
    rows = go_rows(results)
    if not rows:
        return head + tables.missing("Real Go's program was not run in this run.")
    keys = list(dict.fromkeys((row.go["stack_bytes"], row.go["stacks"], row.go["tree"], row.go["gomaxprocs"]) for row in rows))
    body, estimates = [], []
    for size, stacks, tree, procs in sorted(keys, key=lambda key: (TREES.get(key[2], key[2]), key[3], key[0], key[1])):
        own = {row.cache: row for row in rows
               if (row.go["stack_bytes"], row.go["stacks"], row.go["tree"], row.go["gomaxprocs"]) == (size, stacks, tree, procs)}
        go = next(iter(own.values())).go
        estimates += [row.each for row in own.values()]
        body.append([_shape({"stacks": stacks, "stack_bytes": size}), f"{TREES.get(tree, tree)}, {procs} proc{'s' * (procs > 1)}",
                     small(human.time(go["ns_per_stack_med"]),
                           f"{human.digits(go['ns_per_stack_min'])} – {human.digits(go['ns_per_stack_max'])} ns"),
                     *(_go_cell(own.get("cold"))), *(_go_cell(own.get("as left")))])
    inside = [row for row in rows if row.cache == "cold" and row.go["gomaxprocs"] == 1]
    met = sum(row.verdict.startswith("met") for row in inside)
    between = sum(_between(rows, row) for row in inside)
    headers = ("stacks", "real Go", "its ns a stack: median, min – max", "serial, caches cold", "inside?", "serial, caches as our mark left them",
               "inside?")
    return Html(head + tables.table(headers, body, texts=2) + tables.paragraph(
        f"Against one processor, {met} of {len(inside)} medians of the cold drain lie inside real Go's range, and {between} of its "
        "medians lie between ours with caches as left and cold, or inside our spread. The program: n goroutines start on 2 KiB, grow "
        "by calls, return and block, and one collection halves them, seven times, the first included. They run in the order in which "
        "the scheduler of that time takes them from its queues, one in 61 out of turn, and the mark meets them in the order in which "
        "they were made: so the drain goes by address in the first cycle, and less so in each that follows, as real Go's does; the "
        "drain study above shuffles all, and costs more. What differs: our mark reads a few lines a goroutine where Go's unwinds frames by tables "
        f"({_go_mark(results)}) and so leaves less in the caches; cold is the other end. Go's figures are of another day and another "
        f"machine{_go_speed(results)}. {tables.range_kind(estimates)}", "note"))


def _go_speed(results):
    """How this machine compares with the one that Go's figures are from, and what that makes of its ranges."""
    speed = reach.go_speed(results)
    if not speed:
        return ", of which this run can't tell the speed: this machine's Go was not asked"
    inside, cases = reach.inside_at_this_speed(results)
    here = stats.median(speed.here["cycle_ns"]) / speed.here["stacks"]
    there = speed.there["mark_ns_med"] / speed.there["stacks"]
    return (f", where the mark of {speed.here['version']} took a goroutine of {human.size(speed.there['stack_bytes'])} {human.time(there)} "
            f"({human.count(speed.there['stacks'])} of them); here the whole collection of a program of that kind takes {human.time(here)}, "
            f"{human.ratio(speed.ratio.mid)} that. If a range may reach that far beyond its end, {inside} of {cases} "
            "medians lie in it")


def _go_cell(row):
    if row is None:
        return "–", "–"
    low, high, mid = row.go["ns_per_stack_min"], row.go["ns_per_stack_max"], row.each.mid
    if row.verdict.startswith("met"):
        return with_range(row.each, _per_stack), tables.judged(row.each, low, high)
    off = f"{human.ratio(mid / high)} above" if mid > high else f"{human.ratio(low / mid)} below"
    return with_range(row.each, _per_stack), small(tables.judged(row.each, low, high), off)


def _per_stack(ns):
    return human.time(float(f"{ns:.3g}"))


def _between(rows, row):
    """Whether real Go's median lies in what ours covers, from the least as left to the most cold."""
    ends = [one for one in rows if one.go is row.go]
    return min(one.each.low for one in ends) <= row.go["ns_per_stack_med"] <= max(one.each.high for one in ends)


def _go_mark(results):
    rows = [row for row in find.go_rows(results, tree=find.GO_SEED, gomaxprocs=1) if row["stacks"] >= 1000]
    each = [(row["pause_ns_med"] - row["drain_ns_med"]) / row["stacks"] for row in rows]
    return f"{human.time(stats.median(each))} a goroutine" if each else "microseconds a goroutine"
