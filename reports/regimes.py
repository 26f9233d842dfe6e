"""The table of regimes: which policy wins on what, from which n on, by stack size, order and fragmentation.

Only sound policies compete. Two that can't be told apart share the win: their samples differ by no more than the clock's
resolution, or their medians by no more than the same thing did from itself (A/A), or Mann and Whitney's test (where there
are enough; else their ranges) leaves open which is less.
"""

import math
from typing import Callable, NamedTuple

import human
import results as find
import stats
import survival
import tables
from tables import Html

SIGNIFICANT = 0.05
ENOUGH = 4  # samples a side for a test; with fewer the ranges must not touch
NAMED = 3  # winners named in a cell, at most


class Measure(NamedTuple):
    title: str
    samples: Callable  # row -> values, the less the better
    shown: Callable  # a value -> text


DRAIN_MEASURES = (
    Measure("pause", lambda row: row["pause_ns"], human.time),
    Measure("CPU: enqueue, pause and after", lambda row: _sums(row), human.time),
    Measure("held at the end of the mark", lambda row: [row["held_bytes"]], human.size),
)
PAUSE_MEASURES = (
    Measure("pause: the drain's part", lambda row: find.split_values(row, "drain_ns"), human.time),
    Measure("worst stall after the restart", lambda row: row["stall_ns"], human.time),
    Measure("held byte-seconds", lambda row: [find.held_byte_seconds(row)], lambda value: f"{human.size(value)}·s"),
    Measure("CPU of the drain", lambda row: row["drain_cpu_ns"], human.time),
)


def _sums(row):
    return [sum(parts) for parts in zip(row["enqueue_ns"], row["pause_ns"], row["after_ns"])]


class Stretch(NamedTuple):
    """From `stacks` on (up to the next stretch) these win; the value is the best's, there."""
    stacks: int
    winners: tuple
    value: float


class Floor(NamedTuple):
    """What this run can't tell apart: a difference in ns, and a share."""
    ns: float
    share: float = 0.0


def floor_of(results):
    return Floor(find.resolution_of(results), find.aa_share(results))


def told_apart(first, second, floor):
    """Whether the first samples are less than the second, beyond doubt."""
    least, other = stats.median(first), stats.median(second)
    if other - least <= floor.ns or other <= least * (1 + floor.share):
        return False
    if min(len(first), len(second)) < ENOUGH:
        return max(first) < min(second)
    return survival.mann_whitney(first, second) < SIGNIFICANT


def winners(rows, measure, floor):
    """(labels of those that share the win, the best's median) among the rows of one shape and n."""
    samples = {find.label(row): measure.samples(row) for row in rows}
    samples = {name: values for name, values in samples.items() if values}
    if not samples:
        return (), None
    best = min(samples, key=lambda name: stats.median(samples[name]))
    shared = [name for name, values in samples.items()
              if name == best or not told_apart(samples[best], values, floor)]
    return tuple(sorted(shared, key=lambda name: stats.median(samples[name]))), stats.median(samples[best])


def stretches(rows, measure, floor):
    """The stretches of n in which the same ones win, ascending. Order among equals does not begin a new stretch."""
    found = []
    policies = {row["policy"] for row in rows}
    for stacks in sorted({row["stacks"] for row in rows}):
        if {row["policy"] for row in rows if row["stacks"] == stacks} != policies:
            continue  # who was not measured there can't have lost
        names, value = winners([row for row in rows if row["stacks"] == stacks], measure, floor)
        if names and (not found or set(found[-1].winners) != set(names)):
            found.append(Stretch(stacks, names, value))
    return found


def _competing(rows):
    return [row for row in rows if not find.is_control(row)]


def drain_shapes(results):
    """((bytes, order, share), rows) of the drain study, cold caches; only where somebody competes with somebody."""
    shapes = {}
    for row in _competing(find.drain_rows(results, cache="cold")):
        shapes.setdefault((row["stack_bytes"], row["order"], row["share"]), []).append(row)
    return [(key, rows) for key, rows in sorted(shapes.items(), key=_shape_order)
            if len({find.label(row) for row in rows}) > 1]


def _shape_order(shape):
    (size, order, share), _ = shape
    return order != "random", share != "all", size


def regimes(results, _):
    floor = floor_of(results)
    body = []
    for (size, order, share), rows in drain_shapes(results):
        shape = f"{human.size(size)}, {'random' if order == 'random' else 'by address'}, {share} shrunk"
        body.append([shape, *(_cell(stretches(rows, measure, floor), measure) for measure in DRAIN_MEASURES)])
    text = Html()
    if body:
        headers = ("stacks", *(measure.title for measure in DRAIN_MEASURES))
        text += Html("<h3>One drain, no mutator beside it</h3>") + tables.table(headers, body, texts=4)
    text += _with_mutators(results, floor) + over_the_cheapest(results)
    if not body and "<table" not in text:
        return tables.missing("Fewer than two policies were measured in this run.")
    return text + tables.paragraph(
        f"“From n” is where these begin to win and goes on until the next line; the figure is the winner's there. Those "
        f"who share a win differ by no more than {human.time(floor.ns)} (what the clock can tell apart) or by {human.percent(floor.share)} "
        f"(what the same thing, measured twice in turns, differed from itself by), or can't be told "
        f"apart at {human.percent(SIGNIFICANT)} by Mann and Whitney's test. The control ({find.FLOOR}) does not compete: it "
        "frees too early.", "note")


def _with_mutators(results, floor):
    by_size = {}
    for (stacks, size, mutators, markers), rows in find.pause_groups(results, oversubscribed=False):
        by_size.setdefault((size, mutators, markers), []).extend(_competing(rows))
    body = []
    for (size, mutators, markers), rows in sorted(by_size.items()):
        if len({find.label(row) for row in rows}) < 2:
            continue
        shape = f"{human.size(size)}, all shrunk, {mutators} mutator{'s' * (mutators > 1)}"
        body.append([shape, *(_cell(stretches(rows, measure, floor), measure) for measure in PAUSE_MEASURES)])
    if not body:
        return Html("")
    headers = ("stacks", *(measure.title for measure in PAUSE_MEASURES))
    return Html("<h3>Whole cycles, mutators after the restart</h3>") + tables.table(headers, body, texts=5)


def _cell(found, measure):
    lines = []
    for stretch in found:
        names = list(stretch.winners)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"<b>from {human.count(stretch.stacks)}</b> {tables.html(', '.join(names[:NAMED]) + more)} "
                     f"<small>{tables.html(measure.shown(stretch.value))}</small>")
    return Html('<div class="regime">' + "<br>".join(lines) + "</div>") if lines else "–"


# ---- what each costs over the cheapest ----

def growth(points):
    """The exponent b of cost = a·n^b through (n, cost) points, with its 95 % interval; None where there are too few."""
    return stats.fit_line([(math.log(stacks), math.log(cost)) for stacks, cost in points if cost > 0])


def over_the_cheapest(results):
    """Lower bounds of overhead: each policy's cost over the least that any has, and how its cost grows with n."""
    rows = [row for row in find.headline_rows(results, cache="cold") if not find.is_control(row)]
    names = list(dict.fromkeys(find.label(row) for row in rows))
    common = [stacks for stacks in sorted({row["stacks"] for row in rows})
              if {row["policy"] for row in rows if row["stacks"] == stacks} == {row["policy"] for row in rows}]
    if len(names) < 2 or not common:
        return Html()
    shown = [stacks for stacks in find.HEADLINE_STACKS if stacks in common] or common[-1:]
    costs = {name: {row["stacks"]: row for row in rows if find.label(row) == name} for name in names}
    headers = ["policy"]
    for stacks in shown:
        headers += [f"pause at {human.count(stacks)}", f"CPU at {human.count(stacks)}"]
    body = [[name, *(cell for stacks in shown for cell in _over(costs, name, stacks)), _growth_cell(costs[name])] for name in names]
    return Html(f"<h3>Over the cheapest, stacks of {human.size(find.HEADLINE_BYTES)}, random order, all shrunk</h3>") \
        + tables.table([*headers, "CPU grows as"], body) + tables.paragraph(
            "How many times the least that any sound policy has: the pause, and the CPU of enqueue, pause and drain together. "
            "Growth: the exponent of n that fits the CPU from 1 Ki on, with its 95 % interval.", "note")


def _over(costs, name, stacks):
    for samples in (DRAIN_MEASURES[0].samples, DRAIN_MEASURES[1].samples):
        medians = {one: max(1, stats.median(samples(rows[stacks]))) for one, rows in costs.items() if stacks in rows}
        yield human.ratio(medians[name] / min(medians.values())) if name in medians else "–"


def _growth_cell(rows):
    line = growth([(stacks, total) for stacks, row in rows.items() if stacks >= 1024 for total in _sums(row)])
    if not line:
        return "–"
    return tables.small(f"n^{human.digits(line.slope, 3)}", f"{human.digits(line.low, 3)} – {human.digits(line.high, 3)}")


# ---- which policy for whom ----

def recommendations(results):
    """Texts: for each thing that somebody may want least of, who has least of it at the largest n that was measured."""
    groups = [(key, _competing(rows)) for key, rows in find.pause_groups(results, oversubscribed=False)]
    groups = [(key, rows) for key, rows in groups if len(rows) > 1]
    if not groups:
        return []
    floor = floor_of(results)
    key, rows = max(groups, key=lambda group: (len({find.label(row) for row in group[1]}) > 2, group[0][0]))
    texts = []
    for who, measure in zip(("the shortest pause", "the least stall after it", "memory back soonest", "the least CPU"),
                            PAUSE_MEASURES):
        names, value = winners(rows, measure, floor)
        loser = max(rows, key=lambda row: stats.median(measure.samples(row)))
        worst = stats.median(measure.samples(loser))
        texts.append(f"For {who} at {human.count(key[0])} stacks of {human.size(key[1])}: {', '.join(names[:NAMED])}"
                     f"{' and others' if len(names) > NAMED else ''} ({measure.shown(value)}; {find.label(loser)} has "
                     f"{measure.shown(worst)}).")
    return texts
