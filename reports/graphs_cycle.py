"""Graphs of what one cycle looks like from inside: mutator utilisation, and the spans that a marker would have seen."""

import numpy
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import drawing
import human
import results as find

WINDOWS = numpy.geomspace(1e4, 3e9, 84)  # ns

# ---- minimum mutator utilisation ----


def utilisation(stalls, end, windows):
    """For each window length, the least share of any such window in which the thread got on (MMU). Before the first
    stall it did all the time; windows end at `end` at the latest; longer ones than that reach back."""
    starts = numpy.array([start for start, _ in stalls], dtype=float)
    lengths = numpy.array([length for _, length in stalls], dtype=float)
    ends = starts + lengths
    before = numpy.concatenate(([0.0], numpy.cumsum(lengths)))

    def lost(until):
        index = numpy.searchsorted(starts, until, side="right")
        inside = numpy.where(index > 0, numpy.clip(ends[index - 1] - until, 0, None), 0.0)
        return before[index] - inside
    least = []
    for window in windows:
        # The worst window begins where a stall does or ends where one does.
        begins = numpy.concatenate((numpy.minimum(starts, end - window), ends - window, [end - window]))
        least.append(max(0.0, 1 - float(numpy.max(lost(begins + window) - lost(begins))) / window))
    return numpy.array(least)


def _recorded(rows):
    return [row for row in rows if row.get("stalls") and row.get("watched_ns")]


def draw_mmu(results):
    groups = [(key, _recorded(rows)) for key, rows in find.shown_groups(results) if _recorded(rows)]
    if not groups:
        return None
    fig, axes = drawing.figure(3.3 * len(groups), panels=len(groups), squeeze=False, sharex=True, sharey=True)
    styles = drawing.styles_of(find.labels(results))
    for axis, (key, rows) in zip(axes[:, 0], groups):
        for row in rows:
            style = styles[find.label(row)]
            axis.plot(WINDOWS, 100 * utilisation(row["stalls"], row["watched_ns"], WINDOWS), color=style.colour,
                      linestyle=style.dash, gid=drawing.series(find.label(row)))
        floor = _machine_utilisation(rows)
        if floor is not None:
            within = WINDOWS <= rows[0]["hiccup_window_ns"]
            axis.plot(WINDOWS[within], 100 * floor[within], color=drawing.INK, linestyle=":", linewidth=1.4,
                      label="the machine alone")
        drawing.title(axis, find.group_title(key))
        axis.set_ylabel("least utilisation, %")
        axis.set_ylim(-2, 102)
    drawing.time_axis(axes[-1, 0], "x")
    axes[-1, 0].set_xlim(WINDOWS[0], WINDOWS[-1])
    axes[-1, 0].set_xlabel("window")
    shown = {find.label(row) for _, rows in groups for row in rows}
    handles = [drawing.line_handle(style._replace(marker=""), name) for name, style in styles.items() if name in shown]
    handles.append(Line2D([], [], color=drawing.INK, linestyle=":", label="the machine alone (no pool)"))
    drawing.legend_below(fig, handles)
    return fig


def _machine_utilisation(rows):
    """The median over the group's hiccup windows."""
    curves = [utilisation(row["hiccup_stalls"], row["hiccup_window_ns"], WINDOWS) for row in rows if row.get("hiccup_stalls")]
    return numpy.median(curves, axis=0) if curves else None


def half_window(row):
    """The shortest of the windows in which the mutator always gets half of the time, in ns; None if none is so long."""
    enough = numpy.flatnonzero(utilisation(row["stalls"], row["watched_ns"], WINDOWS) >= 0.5)
    return float(WINDOWS[enough[0]]) if enough.size else None


def say_mmu(results):
    groups = [(key, _recorded(rows)) for key, rows in find.shown_groups(results) if _recorded(rows)]
    if not groups:
        return "No mutator's stalls were recorded in this run."
    key, rows = max(groups, key=find.small_then_many)
    found = {find.label(row): half_window(row) for row in rows if not find.is_control(row)}
    reached = {name: window for name, window in found.items() if window}
    if not reached:
        return f"With {find.group_title(key)} no policy gives the mutator half of every window that was watched."
    best, worst = min(reached, key=reached.get), max(reached, key=reached.get)
    never = [name for name, window in found.items() if not window]
    text = (f"With {find.group_title(key)} a mutator gets at least half of any window of {human.time(reached[best])} under "
            f"{best}, and of {human.time(reached[worst])} under {worst}")
    if never:
        text += f"; under {', '.join(never)} of none of up to {human.time(WINDOWS[-1])}"
    return text + ". The mark is in the pause, here, and most of it: the curves part where the drain or the lock adds to it."


# ---- the spans of one cycle ----

STATES = (("S", "stack span, as it was", "#8fa3b8"), ("B", "free: a marker may point there", "#c2410c"),
          ("F", "free: no marker can", "#e9bd82"), ("R", "a stack span again, reissued", "#0f9170"), ("H", "heap", "#a862b8"))
INSIDE_FREE = "-"  # inside a larger free span, of which only the ends are mapped: to a marker the same as free


def letters(row):
    """Each moment's states; what is free is told by whether a marker may still point into it: while they run, and the
    policy did not ask them first."""
    free = {"mark": "B" if find.is_control(row) else "F"}
    return [states.replace(INSIDE_FREE, "F").replace("F", free.get(moment["phase"], "F"))
            for moment, states in zip(row["moments"], row["states"])]


def draw_timeline(results):
    rows = [row for row in results.get("timeline", ()) if row["states"] and row["offsets"]]
    if not rows:
        return None
    fig, axes = drawing.figure(1.75 * len(rows) + 0.6, panels=len(rows), squeeze=False)
    for axis, row in zip(axes[:, 0], rows):
        _draw_spans(axis, row)
        drawing.title(axis, find.label(row))
    axes[-1, 0].set_xlabel("moments of one cycle, in their order")
    seen = set().union(*(states for row in rows for states in letters(row)))
    drawing.legend_below(fig, [Patch(color=colour, label=text) for letter, text, colour in STATES if letter in seen])
    return fig


def _draw_spans(axis, row):
    states = letters(row)
    for letter, text, colour in STATES:
        for span in range(len(row["offsets"])):
            stretches = _stretches([one[span] == letter for one in states])
            if stretches:
                axis.broken_barh(stretches, (span, 1), color=colour, linewidth=0)
                axis.plot([begin for begin, _ in stretches], [span + 0.5] * len(stretches), linestyle="", marker="",
                          label=f"{letter}: {text}")
    axis.set_xlim(0, len(states))
    axis.set_ylim(len(row["offsets"]), 0)
    axis.set_yticks([])
    axis.set_ylabel("spans")
    axis.grid(visible=False)
    ticks, names = _phases(row["moments"])
    axis.set_xticks(ticks, names, fontsize=9.5)
    for tick in ticks[1:]:
        axis.axvline(tick, color=drawing.INK, linewidth=0.9)


def _stretches(flags):
    """(begin, length) of each run of True."""
    found, begin = [], None
    for place, flag in enumerate([*flags, False]):
        if flag and begin is None:
            begin = place
        elif not flag and begin is not None:
            found.append((begin, place - begin))
            begin = None
    return found


SHORT = {"running": "run", "mark": "mark", "drained": "", "restarted": "pause over", "after": "after"}


def _phases(moments):
    """Where each phase begins, and its name with the time; the two single moments around the restart share a tick."""
    ticks, names, last = [], [], None
    for place, moment in enumerate(moments):
        phase = moment["phase"]
        if phase != last and SHORT[phase] and not (phase == "after" and last == "restarted"):
            ticks.append(place)
            names.append(f"{SHORT[phase]}\n{human.time(moment['ns'])}" if phase != "running" else "")
        last = phase
    return ticks, names


def freed_in_mark(row):
    """Watched spans that stopped being what they were while markers ran."""
    changed = set()
    for moment, states in zip(row["moments"], row["states"]):
        if moment["phase"] == "mark":
            changed |= {span for span, letter in enumerate(states) if letter != "S"}
    return len(changed)


def say_timeline(results):
    rows = results.get("timeline", ())
    if not rows:
        return "No cycle's spans were watched in this run."
    early = {find.label(row): freed_in_mark(row) for row in rows}
    told = {name: f"{name} {count} of {len(row['offsets'])}" for (name, count), row in zip(early.items(), rows) if count}
    control = {find.label(row) for row in rows if find.is_control(row)}
    loud = [one for name, one in told.items() if name in control]
    graced = [one for name, one in told.items() if name not in control]
    quiet = [name for name, count in early.items() if not count]
    text = "While markers run (the stretch “mark”), the watched spans of stacks that are being shrunk are freed early under "
    text += f"{', '.join(loud)}: a marker that holds a pointer into one finds a free span" if loud else "no policy that was watched"
    if graced:
        text += f". {', '.join(graced)} are freed in it, too, but each only after every marker was seen to hold no such pointer"
    if quiet:
        text += f". Under {', '.join(quiet)} none of them changes before the mark is over"
    return text + "."
