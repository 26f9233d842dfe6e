"""Graphs of costs apart from the pause: throughput by threads, what noise lets us see, counted instructions and misses."""

import random

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

import drawing
import human
import reach
import results as find
import stats

# ---- throughput by threads ----

PATTERNS = ("hot", "lifo", "fifo", "random")


def _throughputs(results):
    """pattern -> allocator -> [(threads, pairs a second, all threads together, their least and most)]."""
    found = {}
    for row in sorted(reach.pair_rows(results), key=lambda row: row["threads"]):
        if row["stack_bytes"] == _pair_size(results):
            middle = stats.estimate(row["pair_ns"])
            rate, most, least = (row["threads"] * 1e9 / max(ns, 1e-3) for ns in (middle.mid, middle.low, middle.high))
            found.setdefault(row["pattern"], {}).setdefault(row["allocator"], []).append((row["threads"], rate, (least, most)))
    return {pattern: found[pattern] for pattern in PATTERNS if pattern in found}


def _pair_size(results):
    """The largest that was measured: as in the pause study."""
    return max((row["stack_bytes"] for row in reach.pair_rows(results)), default=None)


def draw_throughput(results):
    found = _throughputs(results)
    if not found:
        return None
    names = list(dict.fromkeys(row["allocator"] for row in reach.pair_rows(results)))
    peers = {row["allocator"] for row in reach.pair_rows(results, kind="peer")}
    fig, axes = drawing.figure(2.6 * len(found), panels=len(found), squeeze=False, sharex=True)
    styles = {name: style._replace(dash=(0, (4, 2)) if name in peers else "-")
              for name, style in drawing.styles_of(names).items()}
    for axis, (pattern, by_name) in zip(axes[:, 0], found.items()):
        for name, points in by_name.items():
            style = styles[name]
            axis.plot([threads for threads, _, _ in points], [rate for _, rate, _ in points], color=style.colour, marker=style.marker,
                      linestyle=style.dash, gid=drawing.series(name))
            for threads, _, ends in points:  # what its repetitions spread over
                axis.plot([threads, threads], ends, color=style.colour, linewidth=1, marker="_", markersize=6, gid=drawing.series(name))
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: human.big(value)))
        axis.set_ylabel("pairs a second")
        drawing.title(axis, pattern)
    threads = sorted({row["threads"] for row in reach.pair_rows(results)})
    axes[-1, 0].set_xticks(threads, [str(count) for count in threads])
    axes[-1, 0].set_xlabel("threads")
    handles = [drawing.line_handle(styles[name], name) for name in names]
    drawing.legend_below(fig, handles, columns=3)
    return fig


def say_throughput(results):
    found = _throughputs(results)
    if not found:
        return "Allocation pairs were not measured in this run."
    pattern, by_name = next(iter(found.items()))
    first = {name: points[0][1] for name, points in by_name.items()}
    threads = next(iter(by_name.values()))[0][0]
    ranked = sorted(first, key=first.get, reverse=True)
    text = (f"{pattern}, stacks of {human.size(_pair_size(results))}, {threads} thread{'s' * (threads > 1)}: {ranked[0]} makes "
            f"{human.big(first[ranked[0]])} pairs of an allocation and a free a second, {ranked[-1]} {human.big(first[ranked[-1]])}")
    if reach.BITMAP in first and "tcmalloc" in first:
        text += (f"; bitmap {human.ratio(first[reach.BITMAP] / first['tcmalloc'])} as many as tcmalloc")
    return text + ". Dashed: allocators that are not ours, each in a process of its own; bars: the median's interval."


# ---- what is resolvable ----

DRAWN = 400
LARGEST = 200


def resolvable(ratios, pairs):
    """How far from 1 the median of so many A/A pairs may lie, in 95 of 100 cases; drawn with replacement, repeatably."""
    chance = random.Random(pairs)
    offs = [abs(stats.median(chance.choices(ratios, k=pairs)) - 1) for _ in range(DRAWN)]
    return stats.percentile(offs, 0.95)


def _counts():
    return [1, 2, 3, 5, 7, 9, 15, 21, 30, 50, 100, LARGEST]


def draw_noise(results):
    ratios = results.get("noise", {}).get("aa_ratio")
    if not ratios or len(ratios) < 3:
        return None
    fig, (each, median) = drawing.figure(6, panels=2)
    ordered = sorted(ratios)
    each.plot(ordered, [(place + 0.5) * 100 / len(ordered) for place in range(len(ordered))], color=drawing.PALETTE[1],
              marker=".", label="A/A pairs")
    each.set_xscale("log")
    wide = ordered[-1] > 4 * ordered[0]
    each.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(7, steps=[1, 2, 5, 10]))
    each.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    each.xaxis.set_minor_locator(NullLocator())
    each.axvline(1, color=drawing.INK, linestyle="--", linewidth=1.2)
    each.set_xlabel("the same thing measured twice: ratio of a pair")
    each.set_ylabel("% of the pairs below")
    points = [(count, max(100 * resolvable(ratios, count), 1e-3)) for count in _counts()]
    median.plot(*zip(*points), color=drawing.PALETTE[0], marker="o", label="95 % of medians of A/A pairs")
    median.set_xscale("log")
    median.set_yscale("log")
    for axis in (median.xaxis, median.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else ""))
    median.set_xlabel("pairs measured")
    median.set_ylabel("a smaller difference\nis noise, %")
    drawing.legend_below(fig, [Line2D([], [], color=drawing.PALETTE[1], marker=".", label="A/A pairs"),
                               Line2D([], [], color=drawing.PALETTE[0], marker="o", label="their median, by how many there are")])
    return fig


def say_noise(results):
    ratios = results.get("noise", {}).get("aa_ratio")
    if not ratios or len(ratios) < 3:
        return "Nothing was measured against itself in this run."
    one, nine, many = (human.percent(resolvable(ratios, count)) for count in (1, 9, len(ratios)))
    return (f"With one pair a difference below {one} is noise, with nine {nine}, with the {len(ratios)} taken here {many}; "
            f"no claim smaller than that is made of so many pairs ({results['noise']['what']}).")


# ---- instructions and misses ----

STEPS = (("retire", "enqueue"), ("end_mark", "in the pause"), ("drain", "after the restart"),
         ("release", "a cycle later, of what was kept"), ("pair", "allocate and free"))
COUNTS = (("instructions", "instructions a stack"), ("d1_misses", "first-level data misses a stack"))
LEAST = 1e-3  # what is less (nothing, mostly) is drawn here, on the log axis


def draw_instructions(results):
    rows = find.instruction_rows(results)
    if not rows:
        return None
    policies = list(dict.fromkeys(row["policy"] for row in rows))
    fig, axes = drawing.figure(2 * (0.9 + 0.27 * len(policies)), panels=len(COUNTS), sharex=True)
    styles = drawing.styles_of([step for step, _ in STEPS])
    for axis, (member, title) in zip(axes, COUNTS):
        for row in rows:
            axis.plot(max(row[member], LEAST), policies.index(row["policy"]), styles[row["step"]].marker,
                      color=styles[row["step"]].colour, markersize=8, label=dict(STEPS)[row["step"]])
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value > LEAST else "0"))
        axis.set_yticks(range(len(policies)), policies)
        axis.set_ylim(len(policies) - 0.5, -0.5)
        drawing.title(axis, title)
    drawing.legend_below(fig, [Line2D([], [], color=styles[step].colour, marker=styles[step].marker, linestyle="",
                                      markersize=8, label=name) for step, name in STEPS], columns=2)
    return fig


def say_instructions(results):
    rows = find.instruction_rows(results)
    pauses = {row["policy"]: row for row in rows if row["step"] == "end_mark"}
    serial = pauses.pop(find.SERIAL, None)
    sound = {name: row for name, row in pauses.items() if name != find.FLOOR}
    if not serial or not sound:
        return "Instructions were not counted in this run, or not of serial and another."
    least = min(sound, key=lambda name: sound[name]["instructions"])
    return (f"In the pause serial executes {human.digits(serial['instructions'])} instructions and has "
            f"{human.digits(serial['d1_misses'], 2)} first-level misses a stack of {human.size(serial['stack_bytes'])}, {least} "
            f"{human.digits(sound[least]['instructions'], 2)} and {human.digits(sound[least]['d1_misses'], 2)}. Counted and "
            "simulated by callgrind: no noise, so this is what CI gates on.")
