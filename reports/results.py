"""Looking things up in results.json: which rows, under which name."""

import human
import stats

# The roles that the report's questions are about. A policy that is missing from a run is said to be missing.
SERIAL = "serial"  # all in the pause: what the seed of this work did
HAND_OFF = ("after-restart", "whole")  # the pause only hands the queue over
SPANWISE = "span-after-restart"
FLOOR = "immediate"  # defers nothing: the floor of a pause, and the fuzzers' known-bad control
CONTROL_FINDING = "A3"  # the invariant that the control must break

HEADLINE_BYTES = 4096
HEADLINE_STACKS = (1024, 102400, 1048576)
SHOWN = 3  # panels of a graph, and one of large stacks
LARGE_BYTES = 32768  # from here on a stack is a span of its own
AFTER_STACKS = 262144  # what the targets after the restart are of
GO_SEED = "seed"
GO_AFTER = "go1.19.8"


def label(row):
    return f"{row['policy']}, {row['variant']}" if row["variant"] else row["policy"]


def conditions(row):
    """Under which conditions a drain was measured, in words."""
    order = "random order" if row["order"] == "random" else "by address"
    return f"{order}, {row['share']}, {row['cache']}{', aged' if row['aged'] else ', fresh'}"


def resolution_of(results):
    """What two readings of the clock can't tell apart, in ns."""
    context = results["context"]
    return 2 * (context["clock_overhead_ns"] + context["clock_step_ns"])


def aa_share(results):
    """How far from 1 the ratio of the same thing to itself may lie, by the interval of its median; 0 if it was not measured. No
    smaller difference is claimed."""
    middle = stats.estimate(results.get("noise", {}).get("aa_ratio", []))
    return max(abs(1 - middle.low), abs(middle.high - 1)) if middle and middle.interval else 0.0


def matches(row, wanted):
    return all(row[name] == value for name, value in wanted.items())


def drain_rows(results, **wanted):
    """Rows of "drain" that were measured at all (an interrupted run leaves empty ones), by number of stacks."""
    rows = [row for row in results.get("drain", ()) if _measured(row) and matches(row, wanted)]
    return sorted(rows, key=lambda row: row["stacks"])


def _measured(row):
    return row["pause_ns"] and row["after_ns"] and min(row["chase_ns"], default=0) > 0


def headline_rows(results, **wanted):
    """As most pauses find them: all stacks shrunk, queued in random order, in an aged pool, of the headline's size."""
    return drain_rows(results, **({"order": "random", "share": "all", "stack_bytes": HEADLINE_BYTES} | wanted))


def hand_off_rows(results, **wanted):
    return headline_rows(results, policy=HAND_OFF[0], variant=HAND_OFF[1], **wanted)


def first(rows):
    return next(iter(rows), None)


def defect_trials(results, **wanted):
    """Trials of the scoreboard by defect, in the order of the run."""
    grouped = {}
    for row in results.get("defects", ()):
        if matches(row, wanted):
            grouped.setdefault(row["defect"], []).append(row)
    return grouped


def by_stacks(rows):
    return {row["stacks"]: row for row in rows}


def pause_rows(results, **wanted):
    return [row for row in results.get("pause", ()) if row["splits"] and matches(row, wanted)]


def pause_groups(results, oversubscribed):
    """Rows of "pause" that can be compared, as ((stacks, bytes, mutators, markers), rows), few stacks first."""
    groups = {}
    for row in pause_rows(results, oversubscribed=oversubscribed):
        key = (row["stacks"], row["stack_bytes"], row["mutators"], row["markers"])
        groups.setdefault(key, []).append(row)
    return sorted(groups.items())


def shown_groups(results):
    """Up to three numbers of stacks of the pause study: the fewest, the most, and what is judged or lies in between. Then
    the most large stacks."""
    small, large = small_and_large(results)
    if len(small) > SHOWN:
        judged = [group for group in small[1:-1] if group[0][0] == AFTER_STACKS]
        small = [small[0], (judged or small[len(small) // 2:])[0], small[-1]]
    return small + large[-1:]


def small_and_large(results):
    """The pause study's groups of stacks that share a span, and of those that are one each."""
    groups = pause_groups(results, oversubscribed=False)
    return ([group for group in groups if group[0][1] < LARGE_BYTES], [group for group in groups if group[0][1] >= LARGE_BYTES])


def small_then_many(group):
    """Orders groups by how much they are the headline: of small stacks, and of many."""
    (stacks, size, *_), _ = group
    return size < LARGE_BYTES, stacks


def group_title(key):
    return f"{human.count(key[0])} stacks of {human.size(key[1])}"


def largest_pause_group(results):
    return max(pause_groups(results, oversubscribed=False), key=small_then_many, default=(None, []))


def labels(results):
    """Every policy and variant, in the order in which the run's tables name them."""
    rows = pause_rows(results) or []
    seen = {}
    for row in [*rows, *drain_rows(results)]:
        seen.setdefault(label(row))
    return list(seen)


def split_values(row, part):
    return [split[part] for split in row["splits"]]


def whole_pauses(row):
    return [sum(split.values()) for split in row["splits"]]


def shapes(rows):
    """((stacks, bytes), rows) of rows that can be compared."""
    found = {}
    for row in rows:
        found.setdefault((row["stacks"], row["stack_bytes"]), []).append(row)
    return sorted(found.items())


def held_most(row):
    return max((size for _, size in row["held"]), default=0)


def held_byte_seconds(row):
    """The area under the curve of held bytes: how much is held back for how long, over one cycle."""
    area = sum(size * (until - when) for (when, size), (until, _) in zip(row["held"], row["held"][1:]))
    return area / 1e9


def still_held(row):
    """Not everything was freed when the watch after the restart ended."""
    return bool(row["held"]) and row["held"][-1][1] > 0


def go_live_rows(results):
    return sorted((row for row in results.get("go_live", ()) if row["pause_ns"]), key=lambda row: row["stacks"])


def go_rows(results, **wanted):
    return sorted((row for row in results.get("go", ()) if matches(row, wanted)), key=lambda row: row["stacks"])


def instruction_rows(results):
    """Counted instructions of the headline's size, or of the smallest that was counted."""
    sizes = {row["stack_bytes"] for row in results.get("instructions", ())}
    size = HEADLINE_BYTES if HEADLINE_BYTES in sizes else min(sizes, default=None)
    return [row for row in results.get("instructions", ()) if row["stack_bytes"] == size]


def executions(results):
    return sum(row["executions"] for row in results.get("fuzz", ()))


def unchecked(results):
    """{a policy that shows no spans or slots: the invariants that could not be checked of it}."""
    return {row["name"]: row["unchecked"] for row in results.get("policies", ()) if row["unchecked"]}


def is_control(row):
    return row["policy"] == FLOOR


def unexpected_findings(results):
    """Findings of fuzzers and violations of replays in any policy but the known-bad control, as short texts."""
    found = []
    for row in results.get("fuzz", ()):
        if not is_control(row):
            found += [f"{row['fuzzer']}, {row['policy']}: {finding}" for finding in row["findings"]]
    for row in results.get("replay", ()):
        if row["violations"] and not is_control(row):
            found.append(f"replay of {row['trace']}, {row['policy']}: {row['violations']} violations")
    return found
