"""The section of targets: what was to be reached, and whether this run reaches it."""

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
        f"Warm: as at the end of a real mark, the pool itself was in use a moment ago. The floor is the same call in "
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


def _go_target(results):
    head = Html("<h3>Serial lies in real Go's range at equal n and size</h3>")
    body = []
    for row in find.drain_rows(results, policy=find.SERIAL, order="random", share="all", cache="cold"):
        go = find.nearest_go(results, row["stacks"], tree=find.GO_SEED, gomaxprocs=1, stack_bytes=row["stack_bytes"])
        if go:
            each = stats.estimate([ns / row["stacks"] for ns in row["pause_ns"]])
            spread = f"{human.digits(go['ns_per_stack_min'])} – {human.digits(go['ns_per_stack_max'])} ns"
            body.append([_shape(row), with_range(each),
                         small(human.time(go["ns_per_stack_med"]), spread), human.count(go["stacks"]),
                         tables.judged(each, go["ns_per_stack_min"], go["ns_per_stack_max"])])
    if not body:
        return head + tables.missing("No row of this run has real Go's number and size of stacks.")
    headers = ("stacks", "serial, a stack", "real Go: median, min – max", "at n", "in range")
    return Html(head + tables.table(headers, body)
                + tables.paragraph("Go at the seed commit, GOMAXPROCS 1, measured on another day; n within 10 %. Its "
                                   "range holds a first cycle with the stacks nearly in the order of their addresses, "
                                   "which is cheaper.", "note"))
