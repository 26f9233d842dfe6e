"""The report's graphs. One is a function that draws, one that says in a sentence what to see, and a row in GRAPHS."""

import math
from typing import Callable, NamedTuple

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

import drawing
import graphs_cost
import graphs_cycle
import human
import results as find
import stats
import survival

PARTS = (("stop_ns", "stop"), ("mark_ns", "mark and shrink"), ("drain_ns", "drain"), ("restart_ns", "restart call"),
         ("resumed_ns", "last mutator resumed"))
NINES = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
FIRST_SECOND = 0.01  # what took less is drawn here: a harness needs as long to start
SIZE_MARK = "h"  # of lines that are sizes, not policies
MAX_AT = 6.3  # where the worst sample is drawn, right of 99.9999 %


class Graph(NamedTuple):
    name: str
    title: str
    draw: Callable  # results -> figure; None if there is nothing to draw
    sentence: Callable  # results -> what to see, with this run's figures


# ---- pause against n ----

def draw_pause(results):
    rows = find.headline_rows(results, cache="cold")
    if not rows:
        return None
    low, high = rows[0]["stacks"], rows[-1]["stacks"]
    fig, axis = drawing.figure(4.6)
    drawing.count_axis(axis, low, high)
    drawing.time_axis(axis)
    handles = []
    for name, style in drawing.styles_of(find.labels(results)).items():
        points = [(row["stacks"], stats.median(row["pause_ns"])) for row in rows if find.label(row) == name]
        if points:
            _plot(axis, points, style, name, fillstyle="none", markeredgewidth=1.6)
            handles.append(drawing.line_handle(style, name, fillstyle="none", markeredgewidth=1.6))
    chases = [(row["stacks"], stats.median(row["chase_ns"])) for row in _chase_rows(rows)]
    axis.plot(*zip(*chases), color=drawing.INK, linestyle="--", linewidth=1.3, label="one dependent miss a stack")
    handles.append(Line2D([], [], color=drawing.INK, linestyle="--", linewidth=1.3, label="one dependent miss a stack"))
    line_ns = results["context"].get("line_ns")
    if line_ns:
        axis.plot([low, high], [low * line_ns, high * line_ns], color=drawing.INK, linestyle=":", linewidth=1.3,
                  label="one line a stack")
        handles.append(Line2D([], [], color=drawing.INK, linestyle=":", label="one line a stack, at full bandwidth"))
    go = [row for row in _seed_go(results) if low / 1.4 <= row["stacks"] <= high * 1.4]
    if go:
        handles.append(_plot_go(axis, go))
    live = find.go_live_rows(results)
    if live:
        points = [(row["stacks"], stats.median(row["pause_ns"])) for row in live]
        axis.plot(*zip(*points), color=drawing.INK, marker="1", markersize=11, markeredgewidth=1.8, linestyle="",
                  label="this machine's Go")
        name = f"{live[0]['version']} here, {human.size(live[0]['stack_bytes'])}: all its stops"
        handles.append(Line2D([], [], color=drawing.INK, marker="1", markersize=11, markeredgewidth=1.8, linestyle="", label=name))
    resolution = find.resolution_of(results)
    axis.axhspan(1, resolution, color=drawing.INK, alpha=0.09, linewidth=0)
    handles.append(drawing.floor_handle(resolution))
    axis.set_ylim(bottom=resolution / 2)
    axis.set_ylabel("the drain's part of the pause")
    drawing.legend_below(fig, handles)
    return fig


def _plot(axis, points, style, name=None, **options):
    axis.plot(*zip(*points), gid=drawing.series(name) if name else None, color=style.colour, marker=style.marker, linestyle=style.dash, **options)


def _chase_rows(rows):
    """One row for each n whose chases stand for all: serial's, or any."""
    chosen = {}
    for row in rows:
        if row["stacks"] not in chosen or row["policy"] == find.SERIAL:
            chosen[row["stacks"]] = row
    return [chosen[stacks] for stacks in sorted(chosen)]


def _seed_go(results):
    return find.go_rows(results, tree=find.GO_SEED, gomaxprocs=1, stack_bytes=find.HEADLINE_BYTES)


def _plot_go(axis, rows):
    medians = [row["drain_ns_med"] for row in rows]
    spread = [[max(0, row["drain_ns_med"] - row["ns_per_stack_min"] * row["stacks"]) for row in rows],
              [max(0, row["ns_per_stack_max"] * row["stacks"] - row["drain_ns_med"]) for row in rows]]
    axis.errorbar([row["stacks"] for row in rows], medians, yerr=spread, color=drawing.INK, fmt="*", markersize=10, label="real Go",
                  elinewidth=1.2, capsize=3)
    return Line2D([], [], color=drawing.INK, marker="*", linestyle="", markersize=10, label="real Go, 2014 (min to max)")


def say_pause(results):
    serial = find.headline_rows(results, cache="cold", policy=find.SERIAL)
    hand_off = find.by_stacks(find.hand_off_rows(results, cache="cold"))
    both = [row for row in serial if row["stacks"] in hand_off]
    if not both:
        return "Serial and the hand-off were not both measured, so the two can't be compared here."
    row = both[-1]
    spent = stats.median(row["pause_ns"])
    handed = stats.median(hand_off[row["stacks"]]["pause_ns"])
    chase = stats.median(stats.ratios(row["pause_ns"], row["chase_ns"]))
    return (f"At {human.count(row['stacks'])} stacks of {human.size(row['stack_bytes'])} with cold caches, serial "
            f"draining adds {human.time(spent)} to the pause, {human.ratio(chase)} the time of one dependent cache "
            f"miss a stack; handing the queue over adds {human.time(handed)}, a factor of "
            f"{human.digits(spent / max(handed, 1), 2)}.")


# ---- ns a stack against n ----

def _per_stack_series(results):
    """(stack size, order) -> [(n, ns a stack)] of serial."""
    series = {}
    for row in find.drain_rows(results, policy=find.SERIAL, share="all", cache="cold"):
        point = (row["stacks"], stats.median(row["pause_ns"]) / row["stacks"])
        series.setdefault((row["stack_bytes"], row["order"]), []).append(point)
    return dict(sorted(series.items()))


def _whole_series(results):
    """label -> [(n, ns a stack)] of everything that a stack costs in a cycle: enqueue, pause and after."""
    series = {}
    for row in find.headline_rows(results, cache="cold"):
        if not find.is_control(row):
            each = [sum(parts) / row["stacks"] for parts in zip(row["enqueue_ns"], row["pause_ns"], row["after_ns"])]
            series.setdefault(find.label(row), []).append((row["stacks"], stats.median(each)))
    return series


def _per_stack_axis(axis):
    axis.set_yscale("log")
    drawing.time_axis(axis)
    axis.yaxis.set_minor_formatter(lambda value, _: human.tick(value) if f"{value:.0e}"[0] in "25" else "")


def draw_per_stack(results):
    series, whole = _per_stack_series(results), _whole_series(results)
    if not series and not whole:
        return None
    every = [n for points in [*series.values(), *whole.values()] for n, _ in points]
    fig, (serial, policies) = drawing.figure(7.6, panels=2, sharex=True)
    drawing.count_axis(policies, min(every), max(every))
    serial.set_ylabel("serial's pause, a stack")
    policies.set_ylabel("all of a policy, a stack")
    drawing.title(serial, "serial: by size and order")
    drawing.title(policies, f"every policy: enqueue, pause and after, {human.size(find.HEADLINE_BYTES)}, random order")
    handles = _draw_sizes(serial, series) if series else []
    styles = drawing.styles_of(find.labels(results))
    for name, points in whole.items():
        _plot(policies, points, styles[name], name)
        handles.append(drawing.line_handle(styles[name], name))
    resolution = find.resolution_of(results)
    for axis in (serial, policies):
        _per_stack_axis(axis)
    if any([_draw_floor_each(axis, resolution, min(every), max(every)) for axis in (serial, policies)]):
        handles.append(drawing.floor_handle(resolution))
    drawing.legend_below(fig, handles, columns=3)
    return fig


def _draw_floor_each(axis, resolution, low, high):
    """Below it the clock's noise is as much as all the stacks of a drain together. Is it high enough to be seen?"""
    bottom, top = axis.get_ylim()
    axis.fill_between([low, high], [bottom / 1e6] * 2, [resolution / n for n in (low, high)], color=drawing.INK, alpha=0.09,
                      linewidth=0)
    axis.set_ylim(bottom, top)
    return resolution / low > bottom


def _draw_sizes(axis, series):
    styles = drawing.styles_of(sorted({size for size, _ in series}))
    for (size, order), points in series.items():
        dash = "-" if order == "random" else (0, (4, 2))
        _plot(axis, points, styles[size]._replace(dash=dash, marker=SIZE_MARK), label=f"{human.size(size)}, {order}",
              fillstyle="full" if order == "random" else "none")
    handles = [drawing.line_handle(style._replace(dash="-", marker=SIZE_MARK), human.size(size)) for size, style in styles.items()]
    for text, dash, fill in (("random order", "-", "full"), ("by address", (0, (4, 2)), "none")):
        handles.append(Line2D([], [], color=drawing.INK, linestyle=dash, marker=SIZE_MARK, fillstyle=fill, label=text))
    return handles


def say_per_stack(results):
    series = _per_stack_series(results)
    gains = {}
    for (size, order), points in series.items():
        if order == "address":
            scattered = dict(series.get((size, "random"), ()))
            gains |= {(n, size): (scattered[n], ns) for n, ns in points if n in scattered}
    if not gains:
        every = [ns for points in series.values() for _, ns in points]
        if not every:
            return "Serial was not measured in this run."
        return f"Serial costs {human.time(min(every))} to {human.time(max(every))} a stack in what was measured."
    (n, size), (scattered, ordered) = max(gains.items())
    return (f"{human.count(n)} stacks of {human.size(size)} cost {human.time(scattered)} each when they are queued in "
            f"random order and {human.time(ordered)} when by address: a factor of "
            f"{human.digits(scattered / max(ordered, 1e-3), 2)}, for the same work.")


# ---- one pause, part by part ----

def _median_parts(row):
    return {part: stats.median(find.split_values(row, part)) for part, _ in PARTS}


def draw_split(results):
    groups = find.shown_groups(results)
    one_by_one, most = find.largest_pause_group(results)
    if not groups:
        return None
    heights = [0.5 + 0.3 * len(rows) for rows in [*(rows for _, rows in groups), most]]
    fig, axes = drawing.figure(0.7 * len(heights) + sum(heights), panels=len(heights),
                               gridspec_kw={"height_ratios": heights})
    styles = drawing.styles_of([part for part, _ in PARTS])
    for axis, (key, rows) in zip(axes, groups):
        _draw_whole(axis, rows, styles)
        drawing.title(axis, find.group_title(key) + ": the whole pause")
    _draw_parts(axes[-1], most, styles)
    resolution = find.resolution_of(results)
    least = axes[-1].get_xlim()[0]
    axes[-1].axvspan(min(least, resolution / 3), resolution, color=drawing.INK, alpha=0.09, linewidth=0)
    axes[-1].set_xlim(left=min(least, resolution / 3))
    drawing.title(axes[-1], find.group_title(one_by_one) + ": its parts one by one, on a log scale")
    handles = [Line2D([], [], color=styles[part].colour, marker=styles[part].marker, linestyle="-", linewidth=6,
                      solid_capstyle="butt", markersize=8, label=name) for part, name in PARTS]
    drawing.legend_below(fig, [*handles, drawing.floor_handle(resolution)], columns=2)
    return fig


def _draw_whole(axis, rows, styles):
    names = [find.label(row) for row in rows]
    medians = [_median_parts(row) for row in rows]
    left = [0.0] * len(rows)
    for part, title in PARTS:
        widths = [one[part] / 1e6 for one in medians]
        bars = axis.barh(names, widths, left=left, height=0.62, color=styles[part].colour, label=title)
        for bar in bars:
            bar.set_label(title)
        left = [start + width for start, width in zip(left, widths)]
    for place, total in enumerate(left):
        axis.annotate(human.time(total * 1e6), (total, place), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=10)
    axis.set_xlim(0, max(left) * 1.22)
    axis.set_xlabel("ms")
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def _draw_parts(axis, rows, styles):
    for place, row in enumerate(rows):
        one = _median_parts(row)
        for part, title in PARTS:
            if one[part] > 0:
                axis.plot(one[part], place, styles[part].marker, color=styles[part].colour, markersize=8, label=title)
    axis.set_yticks(range(len(rows)), [find.label(row) for row in rows])
    drawing.time_axis(axis, "x")
    axis.tick_params(axis="x", labelsize=9)  # eight decades beside long names
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="both")


def say_split(results):
    key, rows = find.largest_pause_group(results)
    serial = find.first(row for row in rows if row["policy"] == find.SERIAL)
    if not serial:
        return _said_of(key, "The parts of one pause", rows)
    parts = _median_parts(serial)
    share = stats.median([split["drain_ns"] / sum(split.values()) for split in serial["splits"]])
    text = (f"With {human.count(key[0])} stacks of {human.size(key[1])}, serial's drain takes "
            f"{human.time(parts['drain_ns'])}, {human.percent(share)} of its pause, the mark "
            f"{human.time(parts['mark_ns'])}")
    other = find.first(row for row in rows if (row["policy"], row["variant"]) == find.HAND_OFF)
    if other:
        moved = _median_parts(other)
        text += (f"; handed over, the drain's part is {human.time(moved['drain_ns'])}, less than stopping and "
                 f"restarting the world ({human.time(moved['stop_ns'] + moved['restart_ns'] + moved['resumed_ns'])})"
                 if moved["drain_ns"] < moved["stop_ns"] + moved["restart_ns"] + moved["resumed_ns"]
                 else f"; handed over, the drain's part is {human.time(moved['drain_ns'])}")
    return text + "."


def _said_of(key, what, rows):
    if not rows:
        return "No pause was measured in this run."
    return f"{what} with {human.count(key[0])} stacks of {human.size(key[1])}; serial was not measured in this run."


# ---- latency after the restart ----

def _nines(share):
    return -math.log10(1 - share)


def _thinned(points):
    """Without points that nobody sees apart from the one before: by a fiftieth of a nine and 3 % of the value."""
    kept = points[:1]
    for point in points[1:-1]:
        if point[0] - kept[-1][0] > 0.02 or point[1] > 1.03 * kept[-1][1]:
            kept.append(point)
    return kept + points[1:][-1:]


def _plot_latency(axis, histogram, with_max, **options):
    points = _thinned([(_nines(share), value) for share, value in stats.histogram_curve(histogram) if 0.5 <= share <= 0.999999])
    start = stats.histogram_quantile(histogram, 0.5)
    if start is None:
        return
    points = [(_nines(0.5), start), *points]
    axis.plot(*zip(*points), drawstyle="steps-pre", **options)
    if with_max:
        axis.plot(MAX_AT, max(1, histogram["max"]), clip_on=False, linestyle="", markersize=7, fillstyle="none",
                  markeredgewidth=1.6, color=options["color"], marker=with_max, gid=options.get("gid"))


def draw_latency(results):
    groups = find.shown_groups(results)
    if not groups:
        return None
    fig, axes = drawing.figure(3.9 * len(groups), panels=len(groups), squeeze=False, sharex=True)
    styles = drawing.styles_of(find.labels(results))
    for axis, (key, rows) in zip(axes[:, 0], groups):
        _draw_latencies(axis, rows, results.get("hiccup"), styles)
        drawing.title(axis, find.group_title(key))
    axes[-1, 0].set_xlabel("percent of allocation-and-free pairs that took no longer")
    shown = {find.label(row) for _, rows in groups for row in rows}
    handles = [Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dash, fillstyle="none", markeredgewidth=1.6,
                      label=name) for name, style in styles.items() if name in shown]
    if results.get("hiccup"):
        handles.append(Line2D([], [], color=drawing.INK, linestyle="--", label="hiccups of the machine"))
    handles.append(Line2D([], [], color=drawing.INK, linestyle=":", label="same colour: corrected"))
    drawing.legend_below(fig, handles)
    return fig


def _draw_latencies(axis, rows, hiccup, styles):
    drawing.time_axis(axis)
    for row in rows:
        style, name = styles[find.label(row)], drawing.series(find.label(row))
        _plot_latency(axis, row["latency"], style.marker, color=style.colour, linewidth=1.7, linestyle=style.dash, gid=name)
        _plot_latency(axis, row["latency_corrected"], None, color=style.colour, linewidth=1.5, linestyle=":", gid=name)
    if hiccup:
        _plot_latency(axis, hiccup["latency"], "_", color=drawing.INK, linewidth=1.5, linestyle="--")
    axis.set_xlim(_nines(0.5), MAX_AT + 0.12)
    axis.set_xticks([_nines(share) for share in NINES] + [MAX_AT], [f"{100 * share:g}" for share in NINES] + ["max"])
    axis.set_ylabel("time of a pair")


def _corrections(row):
    """(corrected, plain, percent): where the omission-corrected latency may differ from the plain one."""
    for percent in (50, 90, 99, 99.9, 99.99):
        corrected = stats.histogram_quantile(row["latency_corrected"], percent / 100)
        plain = stats.histogram_quantile(row["latency"], percent / 100)
        if corrected and plain:
            yield corrected, plain, percent


def say_latency(results):
    key, rows = find.largest_pause_group(results)
    if not rows:
        return "No latency was measured in this run."
    worst = max(rows, key=lambda row: row["latency"]["max"])
    best = min(rows, key=lambda row: row["latency"]["max"])
    text = (f"After the restart with {human.count(key[0])} stacks of {human.size(key[1])}, the worst pair took "
            f"{human.time(worst['latency']['max'])} under {find.label(worst)} and "
            f"{human.time(best['latency']['max'])} under "
            f"{find.label(best)}")
    hiccup = results.get("hiccup")
    if hiccup and hiccup["latency"]["count"]:
        text += (f"; the machine alone, with no pool at work (dashed), stalled a thread for up to "
                 f"{human.time(hiccup['latency']['max'])}")
    corrected, plain, percent = max(_corrections(worst), key=lambda row: row[0] / row[1], default=(0, 0, 0))
    if corrected:
        text += (f". Counting the operations that had to wait behind a stalled one (dotted), {find.label(worst)} has "
                 f"{human.time(corrected)} at {percent} % instead of {human.time(plain)}")
    return text + "."


# ---- pause against stall ----

PARETO_GROUPS = 3


def _pareto_groups(results):
    """The largest numbers of stacks with one marker, then of large ones, each ((stacks, …), rows that stall was measured of)."""
    small, large = ([(key, rows) for key, rows in ((key, [row for row in rows if row["stall_ns"]]) for key, rows in groups)
                     if len(rows) > 1] for groups in find.small_and_large(results))
    return small[-PARETO_GROUPS:] + large[-1:]


def _corner(row):
    """(pause, worst stall), medians; a clock tick at least, for the log axes."""
    return max(1, stats.median(find.split_values(row, "drain_ns"))), max(1, stats.median(row["stall_ns"]))


def front(rows, noise=0.0):
    """Rows that no other beats at the pause and at the stall both; stalls below the noise are equal."""
    points = [(pause, max(stall, noise)) for pause, stall in map(_corner, rows)]
    return [row for row, (pause, stall) in zip(rows, points)
            if not any(p <= pause and s <= stall and (p, s) != (pause, stall) for p, s in points)]


def _hiccup_floor(rows):
    """The machine's own worst stall, the median of the cycles; 0 where it was not watched."""
    values = [value for row in rows for value in row.get("hiccup_ns", ())]
    return stats.median(values) if values else 0


def draw_pareto(results):
    groups = _pareto_groups(results)
    if not groups:
        return None
    fig, axes = drawing.figure(3.4 * len(groups) + 0.6, panels=len(groups), squeeze=False, sharex=True, sharey=True)
    styles = drawing.styles_of(find.labels(results))
    largest = max((find.held_byte_seconds(row) for _, rows in groups for row in rows), default=0) or 1
    for axis, (key, rows) in zip(axes[:, 0], groups):
        _draw_corners(axis, rows, styles, largest)
        drawing.title(axis, f"{human.count(key[0])} stacks of {human.size(key[1])}")
        axis.set_ylabel("worst stall after")
    drawing.whole_decades(axes[0, 0], [stall for _, rows in groups for stall in [
        _hiccup_floor(rows) or 1e5, *(end for row in rows for end in _ends(row, largest))]])
    axes[-1, 0].set_xlabel("the drain's part of the pause")
    shown = {find.label(row) for _, rows in groups for row in rows}
    handles = [Line2D([], [], color=style.colour, marker=style.marker, linestyle="", label=name)
               for name, style in styles.items() if name in shown]
    handles.append(Line2D([], [], color=drawing.INK, linestyle="--", label="the machine's own stalls"))
    handles.append(Line2D([], [], color=drawing.INK, linestyle="", marker="o", fillstyle="none", markersize=11,
                          label="area: held byte-seconds"))
    drawing.legend_below(fig, handles)
    return fig


def _ends(row, largest):
    """From which stall to which a row's circle reaches: the largest one's radius is most of a decade of the axis."""
    reach = 5 ** math.sqrt(find.held_byte_seconds(row) / largest)
    stall = _corner(row)[1]
    return stall / reach, stall * reach


def _draw_corners(axis, rows, styles, largest):
    for row in rows:
        style = styles[find.label(row)]
        pause, stall = _corner(row)
        area = 2200 * find.held_byte_seconds(row) / largest
        axis.scatter([pause], [stall], s=[area], color=style.colour, alpha=0.28, linewidths=0,
                     gid=drawing.series(find.label(row)))
        axis.plot([pause], [stall], color=style.colour, marker=style.marker, linestyle="",
                  gid=drawing.series(find.label(row)))
    floor = _hiccup_floor(rows)
    if floor:
        axis.axhline(floor, color=drawing.INK, linestyle="--", linewidth=1.2)
    drawing.time_axis(axis, "x")
    drawing.time_axis(axis)
    axis.margins(0.12)


def say_pareto(results):
    groups = _pareto_groups(results)
    if not groups:
        return "Fewer than two policies were measured with mutators."
    key, rows = max(groups, key=find.small_then_many)
    rows = [row for row in rows if not find.is_control(row)]
    noise = _hiccup_floor(rows)
    best = front(rows, noise)
    names = [find.label(row) for row in best]
    behind = [row for row in rows if row not in best]
    text = (f"At {human.count(key[0])} stacks of {human.size(key[1])}, {', '.join(names)} "
            f"{'is' if len(names) == 1 else 'are'} beaten by no other sound policy in pause and stall together")
    if behind:
        worst = max(behind, key=find.held_byte_seconds)
        text += (f"; {find.label(worst)} is beaten, and holds {human.size(find.held_byte_seconds(worst))}·s back, against "
                 f"{human.size(min(find.held_byte_seconds(row) for row in best))}·s at best")
    if noise:
        text += f". Below {human.time(noise)} (dashed) a stall is the machine's, not the policy's"
    return text + "."


# ---- held bytes ----

def _holding(rows):
    return [row for row in rows if find.held_most(row) > 0 and row["held"]]


def draw_held(results):
    groups = [(key, _holding(rows)) for key, rows in find.shown_groups(results) if _holding(rows)]
    if not groups:
        return None
    fig, axes = drawing.figure(3.4 * len(groups), panels=len(groups), squeeze=False)
    styles = drawing.styles_of(find.labels(results))
    for axis, (key, rows) in zip(axes[:, 0], groups):
        _draw_helds(axis, rows, styles)
        drawing.title(axis, find.group_title(key))
    axes[-1, 0].set_xlabel("ms since the stop was asked (last cycle)")
    shown = {find.label(row) for _, rows in groups for row in rows}
    drawing.legend_below(fig, [drawing.line_handle(style, name) for name, style in styles.items() if name in shown])
    return fig


def _draw_helds(axis, rows, styles):
    scale, unit = _size_unit(max(find.held_most(row) for row in rows))
    last = max(when for row in rows for when, _ in row["held"]) / 1e6
    # Many share the way up: thinner ones on wider ones, those that hold shortest last, show them all.
    for place, row in enumerate(sorted(rows, key=_held_for, reverse=True)):
        style, name = styles[find.label(row)], drawing.series(find.label(row))
        times = [when / 1e6 for when, _ in row["held"]] + [last * 1.05]
        sizes = [size / scale for _, size in row["held"]] + [row["held"][-1][1] / scale]
        axis.step(times, sizes, where="post", color=style.colour, linestyle=style.dash, gid=name,
                  linewidth=1.3 + 0.4 * (len(rows) - 1 - place))
        axis.plot(times[-2], sizes[-2], marker=style.marker, color=style.colour, clip_on=False, zorder=5, gid=name)
    axis.set_xlim(0, last * 1.05)
    axis.set_ylim(bottom=0)
    axis.set_ylabel(f"held, in {unit}")


def _size_unit(most):
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if most >= 2 * scale:
            return scale, unit
    return 1, "bytes"


def _held_for(row):
    """From the last moment of most held bytes, the end of the mark, to when nothing was held (or the watch ended), in ns."""
    most = find.held_most(row)
    return row["held"][-1][0] - max(when for when, size in row["held"] if size == most)


def say_held(results):
    key, rows = find.largest_pause_group(results)
    rows = [row for row in rows if find.held_most(row) > 0]
    if not rows:
        return "Nothing was held in this run, or no pause was measured."
    longest, shortest = max(rows, key=_held_for), min(rows, key=_held_for)
    most = max(find.held_most(row) for row in rows)
    return (f"With {human.count(key[0])} stacks of {human.size(key[1])} a cycle holds {human.size(most)}; from the "
            f"end of the mark it stays for {human.time(_held_for(shortest))} under {find.label(shortest)} and for "
            f"{human.time(_held_for(longest))}{' or more' if find.still_held(longest) else ''} under "
            f"{find.label(longest)}. It grows as the mark goes on; what falls in one step was freed under one hold of the "
            "lock or in the pause, where nobody can use it sooner. A marker is where the last of it is freed.")


# ---- planted defects ----

def draw_survival(results):
    trials = _defect_trials(results)
    if not any(trials.values()):
        return None
    fig, axis = drawing.figure(3.8)
    names = [name for name, rows in trials.items() if rows]
    handles = []
    for name, style in drawing.styles_of(names).items():
        curve = survival.survival(trials[name])
        end = max(trial.time for trial in trials[name])
        times = [max(time, FIRST_SECOND) for time, _ in curve] + [max(end, FIRST_SECOND)]
        shares = [share for _, share in curve] + [curve[-1][1]]
        axis.step(times, shares, where="post", color=style.colour, linestyle=style.dash)
        handles.append(drawing.line_handle(style._replace(marker=""), name))
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("time fuzzed")
    axis.set_ylabel("trials in which\nnothing is reported yet")
    axis.set_ylim(-0.02, 1.02)
    drawing.legend_below(fig, handles)
    return fig


def _defect_trials(results):
    named = {"empty": "from an empty corpus", "committed": "from the committed corpus"}
    return {text: [survival.Trial(row["seconds"] if row["reported"] else row["limit"], row["reported"])
                   for rows in find.defect_trials(results, corpus=corpus).values() for row in rows]
            for corpus, text in named.items()}


def say_survival(results):
    empty = find.defect_trials(results, corpus="empty") or find.defect_trials(results, corpus="committed")
    if not empty:
        return "No defect was planted in this run."
    found = sum(all(row["reported"] for row in rows) for rows in empty.values())
    medians = {name: stats.median([row["seconds"] if row["reported"] else row["limit"] for row in rows])
               for name, rows in empty.items()}
    slowest = max(medians, key=medians.get)
    return (f"{found} of {len(empty)} planted defects are reported in every trial; half of the defects take at most "
            f"{human.seconds(stats.median(list(medians.values())))}, the slowest to find is {slowest} "
            f"({human.seconds(medians[slowest])}). Kaplan and Meier's estimate over all trials.")


GRAPHS = (
    Graph("pause", "What the drain adds to the pause", draw_pause, say_pause),
    Graph("pareto", "The trade: pause against stall after the restart", draw_pareto, say_pareto),
    Graph("per-stack", "The time of one stack", draw_per_stack, say_per_stack),
    Graph("pause-split", "Where one pause goes", draw_split, say_split),
    Graph("latency", "What the mutators feel after the restart", draw_latency, say_latency),
    Graph("mmu", "Minimum mutator utilisation", graphs_cycle.draw_mmu, graphs_cycle.say_mmu),
    Graph("held", "Bytes held back from reuse", draw_held, say_held),
    Graph("timeline", "Spans of one real cycle, as a marker would have seen them", graphs_cycle.draw_timeline,
          graphs_cycle.say_timeline),
    Graph("throughput", "Allocation and free, by threads, against other allocators", graphs_cost.draw_throughput,
          graphs_cost.say_throughput),
    Graph("noise", "What difference is resolvable here", graphs_cost.draw_noise, graphs_cost.say_noise),
    Graph("instructions", "Instructions and cache misses a stack", graphs_cost.draw_instructions,
          graphs_cost.say_instructions),
    Graph("survival", "How long planted defects survive", draw_survival, say_survival),
)
