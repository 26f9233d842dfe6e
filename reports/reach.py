"""What was to be reached, row by row: the measured value with its interval, and the verdict.

A row is a function in ROWS that collects cases (where it was measured, and an estimate); the row shows the case that
does worst, says how many of all cases reach the target, and judges by the worst.
"""

import math
from typing import Callable, NamedTuple

import human
import results as find
import stats
import tables
from tables import Html, small, with_range

SORTED, BITMAP = "sorted-batch", "bitmap"
AFTER_STACKS, AFTER_BYTES = find.AFTER_STACKS, 8192
KI, MI = 1024, 1048576
GO_SPEED_FROM = 10_000  # goroutines: of fewer, fixed costs are most of a collection


class Case(NamedTuple):
    where: str
    estimate: stats.Estimate


class Row(NamedTuple):
    what: str
    target: str
    low: float
    high: float
    shown: Callable  # a number -> text
    cases: Callable  # results -> [Case]


class Judged(NamedTuple):
    row: Row
    cases: list
    worst: Case  # None if nothing was measured
    met: int

    @property
    def verdict(self):
        """"met", "not met", or either "within noise"; None if it was not measured."""
        if self.worst is None:
            return None
        return tables.verdict_of(self.worst.estimate, self.row.low, self.row.high)


def judge(results, row):
    cases = [case for case in row.cases(results) if case.estimate is not None]
    worst = max(cases, key=lambda case: _shortfall(case.estimate.mid, row), default=None)
    met = sum(row.low <= case.estimate.mid <= row.high for case in cases)
    return Judged(row, cases, worst, met)


def _shortfall(value, row):
    """How far a value is from what was to be reached, the larger the worse, whatever the scale."""
    if math.isinf(row.high):
        return -value
    if row.low > 0:
        value = max(value, 1e-9)
        return max(math.log(row.low / value), math.log(value / row.high))
    return value


def judge_all(results):
    return [judge(results, row) for row in ROWS]


def counts(results):
    """How many targets were judged, how many of them are met, and which are not."""
    judged = [one for one in judge_all(results) if one.worst]
    missed = [one.row.what for one in judged if not one.verdict.startswith("met")]
    return {"judged": len(judged), "met": len(judged) - len(missed), "missed": missed}


def summary(results):
    """One line for the terminal and the page's head."""
    count = counts(results)
    if not count["judged"]:
        return "Nothing of what was to be reached was measured."
    text = f"{count['met']} of {count['judged']} targets met in this run"
    return text + (f"; missed: {'; '.join(count['missed'])}." if count["missed"] else ".")


def table(results):
    judged = judge_all(results)
    body = []
    for one in judged:
        if one.worst is None:
            body.append([one.row.what, one.row.target, "not measured", "–", "–", tables.verdict("unsure", "no verdict")])
            continue
        body.append([one.row.what, one.row.target, with_range(one.worst.estimate, one.row.shown), one.worst.where,
                     f"{one.met} of {len(one.cases)}",
                     tables.judged(one.worst.estimate, one.row.low, one.row.high)])
    headers = ("what", "target", "measured: the worst case", "which is", "cases that reach it", "verdict")
    kinds = tables.range_kind([one.worst.estimate for one in judged if one.worst])
    return Html(tables.table(headers, body, texts=2) + tables.paragraph(
        f"{summary(results)} Each row is judged by its worst case, by the median; “within noise” where the interval "
        f"crosses the target. Cheaper means: the quotient of two drains of one repetition. {kinds}", "note"))


# ---- cases ----

def _where(row, *more):
    parts = [f"{human.count(row['stacks'])} × {human.size(row['stack_bytes'])}", *more]
    return ", ".join(parts).replace(" ", "\N{NO-BREAK SPACE}", 1)


def _paired(results, policy, **wanted):
    """(row of serial, row of the policy) of one shape, measured in turns."""
    theirs = {(row["stacks"], row["stack_bytes"]): row for row in find.drain_rows(results, policy=policy, **wanted)}
    for row in find.drain_rows(results, policy=find.SERIAL, **wanted):
        other = theirs.get((row["stacks"], row["stack_bytes"]))
        if other:
            yield row, other


def _cheaper(results, policy, keep):
    usual = {"order": "random", "share": "all", "cache": "cold"}
    return [Case(_where(other), stats.estimate(stats.ratios(row["pause_ns"], other["pause_ns"])))
            for row, other in _paired(results, policy, **usual) if keep(row)]


def _hand_off(results):
    return [Case(_where(row, row["cache"]), stats.estimate(row["pause_ns"]))
            for row in find.hand_off_rows(results, cache="warm")]


def _slope(results):
    rows = find.hand_off_rows(results, cache="warm")
    line = stats.fit_line([(row["stacks"], ns) for row in rows for ns in row["pause_ns"]])
    if not line:
        return []
    points = sum(len(row["pause_ns"]) for row in rows)
    where = f"{human.count(rows[0]['stacks'])} to {human.count(rows[-1]['stacks'])} stacks"
    return [Case(where, stats.Estimate(line.slope, line.low, line.high, True, points))]


def _chase(results):
    return [Case(_where(row, find.conditions(row)), stats.estimate(stats.ratios(row["pause_ns"], row["chase_ns"])))
            for row in find.drain_rows(results, policy=find.SERIAL) if row["stacks"] >= 65536]


class GoSpeed(NamedTuple):
    """What a collection takes a goroutine of this machine's Go, over what the same version took where real Go's figures are from."""
    ratio: stats.Estimate
    here: dict  # a row of go_live
    there: dict  # a row of go


def go_speed(results):
    """At the most goroutines for which both are known, or None."""
    found = None
    for here in find.go_live_rows(results):
        own = {"tree": here["version"], "gomaxprocs": here["gomaxprocs"], "stack_bytes": here["stack_bytes"]}
        for there in find.go_rows(results, **own):
            alike = there["stacks"] >= GO_SPEED_FROM and abs(here["stacks"] / there["stacks"] - 1) < 0.05
            if alike and there.get("mark_ns_med"):
                each = there["mark_ns_med"] / there["stacks"]
                found = GoSpeed(stats.estimate([ns / here["stacks"] / each for ns in here["cycle_ns"]]), here, there)
    return found


def _go(results, slower=1.0, faster=1.0):
    """Serial under real Go's program, caches cold: 1 where it lies in Go's range and else how far outside. A range from another
    machine begins and ends where that is so much slower or faster."""
    cases = []
    for row in results.get("go_program", ()):
        own = {"tree": find.GO_SEED, "gomaxprocs": 1, "stacks": row["stacks"], "stack_bytes": row["stack_bytes"]}
        for go in find.go_rows(results, **own) if row["cache"] == "cold" else ():
            each = stats.estimate([ns / row["stacks"] for ns in row["drain_ns"]])
            if each:
                cases.append(Case(_where(row), _outside(each, go["ns_per_stack_min"] * slower, go["ns_per_stack_max"] * faster)))
    return cases


def go_at_this_speed(results):
    """The same where this machine's speed is known. Of a drain some is the processor's work and some the memory's, and how
    much is not known: so the range reaches from the one machine's to the other's."""
    speed = go_speed(results)
    return _go(results, min(1.0, speed.ratio.mid), max(1.0, speed.ratio.mid)) if speed else []


def inside_at_this_speed(results):
    """How many of these cases lie inside, and how many there are."""
    cases = go_at_this_speed(results)
    return sum(case.estimate.mid <= 1 for case in cases), len(cases)


def _outside(estimate, low, high):
    def factor(value):
        return value / high if value > high else low / value if value < low else 1.0
    ends = sorted(factor(value) for value in (estimate.low, estimate.high))
    return stats.Estimate(factor(estimate.mid), min(ends[0], factor(estimate.mid)), ends[1], estimate.interval, estimate.count)


def _bitmap_each(results):
    return [Case(_where(row, row["cache"]), stats.estimate([ns / row["stacks"] for ns in row["pause_ns"]]))
            for row in find.drain_rows(results, policy=BITMAP) if row["stacks"] >= 65536]


def _enqueue(results):
    return [Case(_where(row, row["policy"]), stats.estimate([ns / row["stacks"] for ns in row["enqueue_ns"]]))
            for policy in (SORTED, BITMAP)
            for row in find.drain_rows(results, policy=policy, order="random", share="all") if row["stacks"] >= KI]


def _touched(results):
    return [Case(f"{human.count(row['stacks'])} × {human.size(row['stack_bytes'])}, {row['policy']}",
                 stats.exactly(row["touched"], row["stacks"]))
            for row in results.get("touched", ()) if row["policy"] in (SORTED, BITMAP)]


def after_rows(results, policy=None):
    wanted = {"stacks": AFTER_STACKS, "stack_bytes": AFTER_BYTES, "mutators": 1} | ({"policy": policy} if policy else {})
    return find.pause_rows(results, **wanted)


def above_hiccups(row):
    """Each cycle's worst stall less the worst hiccup of as long a watch just before it."""
    return stats.differences(row["stall_ns"], row["hiccup_ns"]) if row.get("hiccup_ns") else []


def _after_p99(results):
    return [Case(_where(row, find.label(row)), stats.histogram_estimate(row["latency"], 0.99))
            for row in after_rows(results, BITMAP)]


def _after_stall(results):
    return [Case(_where(row, find.label(row)), stats.estimate(above_hiccups(row))) for row in after_rows(results, BITMAP)]


def _after_over(results):
    return [Case(_where(row, find.label(row)), stats.estimate(row["drain_over_ns"]))
            for row in after_rows(results, BITMAP)]


def released(row):
    """What giving back the spans kept by a drain took, and nothing else: the drain of the idle cycle in which they leave,
    less that of the next, in which nothing does; one figure a repetition."""
    return stats.differences(row["release_ns"], row["idle_ns"]) if "release_ns" in row else []


def released_each(row):
    return stats.estimate([ns / row["spans_kept"] for ns in released(row)]) if row.get("spans_kept") else None


def _released(results):
    return [Case(_where(row, row["cache"]), released_each(row))
            for row in find.drain_rows(results, policy=BITMAP, share="all", cache="warm") if row["stacks"] >= KI]


def _released_slope(results):
    """What one span more takes where the pool's own tables are cold, too: these cost once, whatever leaves."""
    rows = find.drain_rows(results, policy=BITMAP, share="all", cache="cold")
    rows = [row for row in rows if released_each(row)]
    line = stats.fit_line([(row["spans_kept"], ns) for row in rows for ns in released(row)])
    if not line:
        return []
    points = sum(len(released(row)) for row in rows)
    spans = [row["spans_kept"] for row in rows]
    return [Case(f"{human.count(min(spans))} to {human.count(max(spans))} spans, cold",
                 stats.Estimate(line.slope, line.low, line.high, True, points))]


def _released_none(results):
    """Where no span became empty."""
    return [Case(_where(row, "half stay"), stats.estimate(released(row)))
            for row in find.drain_rows(results, policy=BITMAP, share="half", cache="warm")
            if released(row) and row["spans_kept"] == 0]


# ---- allocation pairs ----

def pair_rows(results, **wanted):
    return [row for row in results.get("pairs", ()) if row["pair_ns"] and find.matches(row, wanted)]


def _pairs(results, patterns, threads):
    return [Case(f"{row['pattern']}, {human.size(row['stack_bytes'])}", stats.estimate(row["pair_ns"]))
            for row in pair_rows(results, allocator=BITMAP, threads=threads) if row["pattern"] in patterns]


def _against(results, peer):
    cases = []
    for row in pair_rows(results, allocator=BITMAP, threads=1, pattern="hot"):
        for other in pair_rows(results, allocator=peer, threads=1, pattern="hot", stack_bytes=row["stack_bytes"]):
            cases.append(Case(human.size(row["stack_bytes"]),
                              stats.estimate(stats.ratios(row["pair_ns"], other["pair_ns"]))))
    return cases


def _two_against_one(results):
    cases = []
    for two in pair_rows(results, allocator=BITMAP, threads=2):
        for one in pair_rows(results, allocator=BITMAP, threads=1, pattern=two["pattern"], stack_bytes=two["stack_bytes"]):
            cases.append(Case(f"{two['pattern']}, {human.size(two['stack_bytes'])}",
                              stats.estimate(stats.ratios(two["pair_ns"], one["pair_ns"]))))
    return cases


def each_ns(ns):
    return human.time(float(f"{ns:.3g}"))


def _spare(count):
    return human.digits(count, 3)


ANY = math.inf
ROWS = (
    Row("hand-off: the pause's part", "≤ 200 ns at every n", 0, 200, human.time, _hand_off),
    Row("hand-off: slope over n", "< 0.001 ns a stack", -ANY, 0.001, lambda ns: f"{human.digits(ns, 2)} ns", _slope),
    Row("serial: against a pointer chase", "0.75 to 1.25×", 0.75, 1.25, human.ratio, _chase),
    Row("serial: outside real Go's range, of another machine", "1× (inside)", 0, 1, human.ratio, _go),
    Row("serial: the same, the range widened by the machines' speeds", "1× (inside)", 0, 1, human.ratio, go_at_this_speed),
    Row("sorted-batch in the pause, from 1 Mi", "≥ 20× cheaper than serial", 20, ANY, human.ratio,
        lambda results: _cheaper(results, SORTED, lambda row: row["stacks"] >= MI)),
    Row("sorted-batch in the pause, 2 KiB from 4 Ki", "≥ 50× cheaper than serial", 50, ANY, human.ratio,
        lambda results: _cheaper(results, SORTED, lambda row: row["stacks"] >= 4 * KI and row["stack_bytes"] == 2048)),
    Row("bitmap in the pause, from 64 Ki, against serial", "≥ 1,000× cheaper than serial", 1000, ANY, human.ratio,
        lambda results: _cheaper(results, BITMAP, lambda row: row["stacks"] >= 64 * KI)),
    Row("bitmap in the pause, from 64 Ki, a stack", "≤ 0.15 ns a stack", 0, 0.15, lambda ns: f"{human.digits(ns, 2)} ns",
        _bitmap_each),
    Row("enqueue, from 1 Ki", "≤ 8 ns a stack", 0, 8, each_ns, _enqueue),
    Row("enqueue: stacks touched", "0", 0, 0, _spare, _touched),
    Row("bitmap after the restart, 256 Ki: alloc+free p99", "≤ 3 µs", 0, 3000, human.time, _after_p99),
    Row("bitmap after the restart, 256 Ki: worst stall over the hiccups", "≤ 60 µs", -ANY, 60_000, human.time,
        _after_stall),
    Row("bitmap after the restart, 256 Ki: drain over", "≤ 100 µs", 0, 100_000, human.time, _after_over),
    Row("bitmap: release of an empty span, the pool warm", "≤ 2 ns each", 0, 2, each_ns, _released),
    Row("bitmap: release of one empty span more, the pool cold", "≤ 2 ns (the slope)", -ANY, 2,
        lambda ns: f"{human.digits(ns, 2)} ns", _released_slope),
    Row("bitmap: release where none is empty", "0 (below 100 ns)", -ANY, 100, human.time, _released_none),
    Row("bitmap: allocate and free, hot, one thread", "≤ 8 ns", 0, 8, each_ns, lambda results: _pairs(results, ("hot",), 1)),
    Row("bitmap: the same against tcmalloc", "below 1×", 0, 1, human.ratio,
        lambda results: _against(results, "tcmalloc")),
    Row("bitmap: two threads, last or first in first out", "≤ 10 ns", 0, 10, each_ns,
        lambda results: _pairs(results, ("lifo", "fifo"), 2)),
    Row("bitmap: two threads, random", "≤ 30 ns", 0, 30, each_ns, lambda results: _pairs(results, ("random",), 2)),
    Row("bitmap: two threads against one", "≤ 3×", 0, 3, human.ratio, _two_against_one),
)


# ---- every policy after the restart, at the size that is judged ----

def after_table(results):
    rows = after_rows(results)
    head = Html(f"<h3>After the restart, {human.count(AFTER_STACKS)} stacks of {human.size(AFTER_BYTES)}</h3>")
    if not rows:
        return head + tables.missing("Not measured in this run.")
    body, estimates = [], []
    for row in rows:
        used = [stats.histogram_estimate(row["latency"], 0.99), stats.estimate(row["stall_ns"]),
                stats.estimate(above_hiccups(row)), stats.estimate(row["drain_over_ns"])]
        estimates += used
        body.append([find.label(row), *(with_range(one) for one in used), _beside(row)])
    headers = ("policy", "alloc+free p99", "worst stall", "less the hiccups'", "drain over after", "beside it")
    return Html(head + tables.table(headers, body) + tables.paragraph(
        "A mutator allocates and frees what is drained, for 200 ms after each restart. The hiccups are of a thread that "
        "only reads the clock, watched for as long just before, cycle by cycle. The 99th percentile's interval is of "
        f"the samples' ranks. {tables.range_kind(estimates)}", "note"))


def _beside(row):
    if "switches" not in row:
        return "–"
    text = f"{row['switches']} switches"
    return small(text, f"{human.time(row['stolen_ns'])} stolen") if row.get("stolen_ns", -1) >= 0 else text
