#!/usr/bin/python3
"""compare.py OLD.json NEW.json: what became slower or faster between two results.json, and what of it is significant.

Each row that both files have is one comparison: the ratio of the medians, new to old, with a bootstrap interval, and
Mann and Whitney's p. A row is worse (or better) when all of these hold:
  * the whole 95 % interval of the ratio lies beyond the threshold (10 %, and never below what the two runs' A/A pairs
    say is resolvable; where both have a pointer chase, beyond what the chase itself changed by);
  * p < 0.01; with 5 samples a side, where p can't get there, their ranges do not touch. Of fewer nothing is said: even
    that is chance too often;
  * the medians differ by more than the clock can tell apart; a stall also by more than the machine's own.
Counted instructions have no noise: there the threshold is 2 % and a count.
Exit codes: 0 nothing is worse, 1 something is, 2 bad usage or bad input.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Callable, NamedTuple

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import human
import results as find
import schema
import stats
import survival

THRESHOLD = 0.10
COUNTED_THRESHOLD = 0.02
COUNTED_LEAST = 1.0
SIGNIFICANT = 0.01
RESAMPLES = 400
FEW = 6  # below so many samples a side no p is below SIGNIFICANT


class Measure(NamedTuple):
    section: str
    name: str
    key: tuple  # the members that say which row it is
    samples: Callable  # row -> values
    machine: Callable = None  # row -> values that only the machine changes, to be set beside
    floor: Callable = None  # row -> what the machine alone reaches, in the samples' unit
    counted: bool = False


DRAIN_KEY = ("policy", "variant", "stacks", "stack_bytes", "order", "share", "cache", "aged")
SHAPE_KEY = ("policy", "variant", "stacks", "stack_bytes")
PAUSE_KEY = ("policy", "variant", "stacks", "stack_bytes", "mutators", "markers")


def _drain(name, machine=False):
    return Measure("drain", name, DRAIN_KEY, lambda row: row[name], (lambda row: row["chase_ns"]) if machine else None)


MEASURES = (
    _drain("pause_ns", machine=True),
    _drain("after_ns", machine=True),
    _drain("enqueue_ns"),
    Measure("pause", "drain_ns", PAUSE_KEY, lambda row: find.split_values(row, "drain_ns")),
    Measure("pause", "stall_ns", PAUSE_KEY, lambda row: row["stall_ns"],
            floor=lambda row: max(row.get("hiccup_ns") or [0])),
    Measure("pause", "drain_over_ns", PAUSE_KEY, lambda row: row["drain_over_ns"]),
    Measure("pause", "drain_cpu_ns", PAUSE_KEY, lambda row: row["drain_cpu_ns"]),
    Measure("burst", "pause_ns", SHAPE_KEY, lambda row: row["pause_ns"]),
    Measure("burst", "after_ns", SHAPE_KEY, lambda row: row["after_ns"]),
    Measure("pinned", "pause_ns", (*SHAPE_KEY, "every"), lambda row: row["pause_ns"]),
    Measure("processors", "cycle_ns", (*SHAPE_KEY, "procs"), lambda row: row["cycle_ns"]),
    Measure("pairs", "pair_ns", ("allocator", "threads", "pattern", "stack_bytes"), lambda row: row["pair_ns"]),
    Measure("instructions", "instructions", ("policy", "stack_bytes", "step"), lambda row: [row["instructions"]],
            counted=True),
)


class Comparison(NamedTuple):
    measure: Measure
    name: str
    old: float
    new: float
    ratio: stats.Estimate
    p: float
    change: str  # "worse", "better", ""


def compare(old, new, threshold=THRESHOLD):
    """Every row that both have; the resolution of both runs is taken into account."""
    threshold = max(threshold, find.aa_share(old), find.aa_share(new))
    resolution = max(find.resolution_of(one) for one in (old, new))
    found = []
    for measure in MEASURES:
        before = {tuple(row[name] for name in measure.key): row for row in old.get(measure.section, ())}
        for row in new.get(measure.section, ()):
            other = before.get(tuple(row[name] for name in measure.key))
            if other and measure.samples(row) and measure.samples(other):
                found.append(_compare(measure, other, row, threshold, resolution))
    return found


def _compare(measure, old_row, new_row, threshold, resolution):
    old, new = measure.samples(old_row), measure.samples(new_row)
    before, after = stats.median(old), stats.median(new)
    name = " ".join(_word(key, new_row[key]) for key in measure.key if new_row[key] != "")
    if measure.counted:
        ratio = stats.exactly(after / before if before else 1.0 if not after else math.inf, 1)
        off = abs(after - before) > max(COUNTED_LEAST, COUNTED_THRESHOLD * before)
        return Comparison(measure, name, before, after, ratio, 0.0 if off else 1.0, _way(after, before) if off else "")
    ratio = stats.bootstrap_ratio(new, old, RESAMPLES)
    p = survival.mann_whitney(old, new)
    machine = _machine(measure, old_row, new_row)
    beyond = ratio.low > (1 + threshold) * machine.high or ratio.high < machine.low / (1 + threshold)
    apart = p < SIGNIFICANT if min(len(old), len(new)) >= FEW else _apart(old, new)
    seen = abs(after - before) > resolution
    if measure.floor:
        seen = seen and max(before, after) > max(measure.floor(old_row), measure.floor(new_row))
    return Comparison(measure, name, before, after, ratio, p, _way(after, before) if beyond and apart and seen else "")


def _apart(old, new):
    """Of few: do their ranges not overlap, and is that more than chance does with so few?"""
    by_chance = 2 / math.comb(len(old) + len(new), len(new))
    return by_chance < SIGNIFICANT and (max(old) < min(new) or max(new) < min(old))


def _way(after, before):
    return "worse" if after > before else "better"


def _machine(measure, old_row, new_row):
    """What the machine itself changed by: the chase over the same addresses; 1 where there is none."""
    if not measure.machine or not measure.machine(old_row) or not measure.machine(new_row):
        return stats.exactly(1.0, 1)
    ratio = stats.bootstrap_ratio(measure.machine(new_row), measure.machine(old_row), RESAMPLES)
    return ratio._replace(low=min(1.0, ratio.low), high=max(1.0, ratio.high))


WORDS = {"stacks": human.count, "stack_bytes": human.size, "mutators": lambda n: f"mutators={n}",
         "markers": lambda n: f"markers={n}", "every": lambda n: f"every={n}", "procs": lambda n: f"procs={n}", "threads": lambda n: f"threads={n}",
         "aged": lambda aged: "aged" if aged else "fresh"}


def _word(key, value):
    return WORDS[key](value).replace(" ", "\N{NO-BREAK SPACE}") if key in WORDS else str(value)


def pooled(found):
    """(measure's name, policy, rows, geometric mean of the ratios, its 95 % interval) over all rows of a policy."""
    groups = {}
    for one in found:
        if 0 < one.ratio.mid < math.inf:
            groups.setdefault((one.measure.section, one.measure.name, one.name.split()[0].rstrip(",")), []).append(
                math.log(one.ratio.mid))
    table = []
    for (section, name, policy), logs in groups.items():
        if len(logs) >= 3:
            mean = sum(logs) / len(logs)
            spread = math.sqrt(sum((value - mean) ** 2 for value in logs) / (len(logs) - 1) / len(logs))
            off = spread * stats.student_95(len(logs) - 1)
            table.append((f"{section}.{name}", policy, len(logs), math.exp(mean), math.exp(mean - off), math.exp(mean + off)))
    return table


# ---- text ----

def shown(measure, value):
    return human.digits(value) if measure.counted else human.time(value)


def text(found, only_in):
    changed = sorted((one for one in found if one.change), key=lambda one: -abs(math.log(max(one.ratio.mid, 1e-9))))
    lines = []
    for kind in ("worse", "better"):
        for one in changed:
            if one.change == kind:
                lines.append(f"{kind:<7}{one.measure.name:<15}{one.name}: {shown(one.measure, one.old)} → "
                             f"{shown(one.measure, one.new)}, {_ratio(one)}")
    pools = pooled(found)
    if pools:
        lines.append(f"\n{'measure':<26}{'policy':<22}{'rows':>5}  new / old, geometric mean (95 %)")
        lines += [f"{name:<26}{policy:<22}{rows:>5}  {human.digits(mean)} ({human.digits(low)} to {human.digits(high)})"
                  for name, policy, rows, mean, low, high in pools]
    counts = {kind: sum(one.change == kind for one in found) for kind in ("worse", "better", "")}
    lines.append(f"\n{len(found)} compared: {counts['worse']} worse, {counts['better']} better, {counts['']} the same within noise"
                 + (f"; {only_in[0]} rows only in the old file, {only_in[1]} only in the new one" if any(only_in) else ""))
    return "\n".join(lines)


def _ratio(one):
    if one.measure.counted:
        return f"{human.digits(one.ratio.mid)}× (counted)"
    return f"{human.digits(one.ratio.mid)}× (95 % {human.digits(one.ratio.low)} to {human.digits(one.ratio.high)}), p {one.p:.2g}"


def unmatched(old, new):
    """Rows of one file that the other lacks: (only in old, only in new)."""
    counts = [0, 0]
    for section, key in {(measure.section, measure.key) for measure in MEASURES}:
        names = [{tuple(row[name] for name in key) for row in one.get(section, ())} for one in (old, new)]
        counts[0] += len(names[0] - names[1])
        counts[1] += len(names[1] - names[0])
    return counts


def as_json(found):
    return [{"section": one.measure.section, "measure": one.measure.name, "row": one.name, "old": one.old, "new": one.new,
             "ratio": _finite(one.ratio.mid), "low": _finite(one.ratio.low), "high": _finite(one.ratio.high), "p": one.p,
             "change": one.change} for one in found]


def _finite(ratio):
    """JSON has no infinity: null where the old figure is 0."""
    return ratio if math.isfinite(ratio) else None


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="compare.py", description="What changed between two results.json.")
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument("--threshold", type=float, default=100 * THRESHOLD, metavar="PERCENT")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if not options.threshold > 0:
        print("compare: --threshold wants percent above 0, such as 10", file=sys.stderr)
        return 2
    files = []
    for path in (options.old, options.new):
        try:
            files.append(schema.load_results(path))
        except schema.BadResults as error:
            print(f"compare: {path}: {error}", file=sys.stderr)
            return 2
    found = compare(*files, options.threshold / 100)
    if not found:
        print(f"compare: {options.old} and {options.new} have no row in common; compare two runs of the same extent",
              file=sys.stderr)
        return 2
    print(json.dumps(as_json(found), indent=1, ensure_ascii=False) if options.json else text(found, unmatched(*files)))
    return 1 if any(one.change == "worse" for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
