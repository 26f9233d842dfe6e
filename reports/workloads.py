"""Workloads that a drain of n equal stacks does not show, and what a cycle's cost grows with: tables of the page."""

import human
import regimes
import results as find
import stats
import tables
from tables import Html, small, with_range

KI = 1024


def workloads(results, _):
    parts = [_bursts(results), _halved(results), _pinned(results), _growth(results), _recorded(results)]
    if not any(parts):
        return tables.missing("No workload was measured in this run.")
    return Html("").join(part for part in parts if part)


def _each(values, stacks):
    return stats.estimate([value / stacks for value in values])


# ---- grow, idle, shrink, again ----

def _bursts(results):
    text = Html()
    for (stacks, size), rows in find.shapes(results.get("burst", ())):
        body, estimates = [], []
        for row in rows:
            later = {name: row[name][1:] or row[name] for name in ("grow_ns", "pause_ns", "after_ns")}
            used = [_each(later["grow_ns"], stacks), _each(later["pause_ns"], stacks), _each(later["after_ns"], stacks)]
            estimates += used
            again = stats.median(row["spans_released"])
            body.append([find.label(row), human.time(row["grow_ns"][0] / stacks), *(with_range(one, _ns) for one in used),
                         f"{stats.median(row['spans_taken']):,.0f} / {again:,.0f}", human.size(max(row["held_bytes"])),
                         human.ratio(row["span_bytes_idle"][-1] / row["live_bytes_idle"][-1])])
        headers = ("policy", "first growth, a stack", "growth again", "in the pauses", "after the restarts",
                   "spans taken / given back, a burst", "held at most", "in spans when idle / live")
        text += Html(f"<h3>A burst, again and again: {human.count(stacks)} goroutines grow to {human.size(size)}, idle, shrink</h3>"
                     + tables.table(headers, body))
        text += tables.paragraph(
            f"{len(rows[0]['grow_ns'])} bursts; each is followed by as many collections as bring every stack back to 2 KiB. Ping-pong: "
            "what a burst gives back it takes again, each time; a policy pays for that in the growth, in the pauses or after them. "
            f"All but the first growth are medians of the later bursts, a stack. {tables.range_kind(estimates)}", "note")
    return text


def _ns(value):
    return human.time(float(f"{value:.3g}"))


# ---- halved where it lies, or copied ----

def _halved(results):
    rows = results.get("halved", ())
    if not rows:
        return Html()
    body = [[find.label(row), *(human.size(row[name]) for name in ("grown_bytes", "collected_bytes", "again_bytes", "live_bytes")),
             human.ratio(row["collected_bytes"] / row["grown_bytes"]), human.ratio(row["again_bytes"] / row["live_bytes"])]
            for row in rows]
    headers = ("policy", "mapped: grown", "after the shrink", "as many again", "live then", "room for copies", "mapped / live")
    first = rows[0]
    return Html(f"<h3>Fragments: {human.count(first['stacks'])} stacks of {human.size(first['stack_bytes'])} are halved, then as many "
                "again want the first size</h3>") + tables.table(headers, body) + tables.paragraph(
        "Counted, not timed. Who copies needs room for the copies while the old stacks wait; who halves a stack where it lies "
        "needs none, and leaves holes of half the size, which serve nobody who wants the whole.", "note")


# ---- a few stay ----

def _pinned(results):
    text = Html()
    for (stacks, size), rows in find.shapes(results.get("pinned", ())):
        every = sorted({row["every"] for row in rows})
        body, estimates = [], []
        for name in dict.fromkeys(find.label(row) for row in rows):
            own = {row["every"]: row for row in rows if find.label(row) == name}
            cells = []
            for one in every:
                if one not in own:
                    cells += ["–", "–"]
                    continue
                row = own[one]
                both = stats.estimate([a + b for a, b in zip(row["pause_ns"], row["after_ns"])])
                estimates.append(both)
                cells += [human.ratio(row["span_bytes"] / row["live_bytes"]), with_range(both)]
            body.append([name, *cells])
        headers = ["policy"]
        for one in every:
            headers += [f"1 in {one} stays: in spans / live", "pause and after"]
        text += Html(f"<h3>Pinned: some of {human.count(stacks)} stacks of {human.size(size)} stay, at random</h3>"
                     + tables.table(headers, body)) + tables.paragraph(
            "A stack that stays keeps its whole span from going back: memory in spans of stacks over memory in live stacks, when all "
            f"is drained. Pools that do not move stacks differ little in it; what looking for empty spans costs differs. "
            f"{tables.range_kind(estimates)}", "note")
    return text


# ---- growth with n, processors and spans ----

def _fit(line, unit):
    if line is None:
        return "–"
    return small(f"{human.digits(line.slope, 3)} {unit}", f"{human.digits(line.low, 3)} – {human.digits(line.high, 3)}"
                 if line.low >= 0 else f"{human.digits(line.low, 3)} to {human.digits(line.high, 3)}")


def total(row):
    """What a cycle costs altogether, a repetition: enqueue, pause and after."""
    return [sum(parts) for parts in zip(row["enqueue_ns"], row["pause_ns"], row["after_ns"])]


def _growth(results):
    drains = [row for row in find.drain_rows(results, order="random", share="all", cache="cold") if not find.is_control(row)]
    processors = [row for row in results.get("processors", ()) if not find.is_control(row)]
    names = list(dict.fromkeys([find.label(row) for row in drains] + [find.label(row) for row in processors]))
    body = []
    for name in names:
        own = [row for row in drains if find.label(row) == name]
        headline = [row for row in own if row["stack_bytes"] == find.HEADLINE_BYTES and row["stacks"] >= KI]
        power = regimes.growth([(row["stacks"], ns) for row in headline for ns in total(row)])
        pause = regimes.growth([(row["stacks"], ns) for row in headline for ns in row["pause_ns"]])
        equal = [row for row in own if row["stacks"] == _most_sizes(own)]
        spans = stats.fit_line([point for row in equal for point in _given_back(row)])
        procs = stats.fit_line([(row["procs"], ns) for row in processors if find.label(row) == name for ns in row["cycle_ns"]])
        if any((power, pause, spans, procs)):
            body.append([name, _power(pause), _power(power), _fit(spans, "ns"), _fit(procs, "ns")])
    if not body:
        return Html()
    largest = max((row["stacks"] for row in drains), default=0)
    headers = ("policy", "pause grows as", "all of it grows as", "each span given back", "each processor")
    return Html("<h3>What a cycle's cost grows with</h3>") + tables.table(headers, body) + tables.paragraph(
        f"Stacks: the exponent of n that fits from 1 Ki on (to {human.count(largest)} in this run), stacks of "
        f"{human.size(find.HEADLINE_BYTES)}, cold. Spans: least squares through one number of stacks in fewer or more spans, as their "
        "size makes them. Processors: a cycle with a full cache on each of 1 to 64, flush included. Small: the 95 % interval of the fit.",
        "note")


def _given_back(row):
    """(spans, what giving them back took) of each repetition: pause and after, for the enqueue meets no span; of what is
    kept for a next growth its own drain, in the idle cycle that follows."""
    if row.get("spans_kept"):
        return [(row["spans_kept"], ns) for ns in row["release_ns"]]
    return [(row["spans_released"], sum(parts)) for parts in zip(row["pause_ns"], row["after_ns"])]


def _most_sizes(rows):
    """The number of stacks that most sizes were measured at."""
    sizes = {}
    for row in rows:
        sizes.setdefault(row["stacks"], set()).add(row["stack_bytes"])
    return max(sizes, key=lambda stacks: (len(sizes[stacks]), -stacks), default=None)


def _power(line):
    if line is None:
        return "–"
    return small(f"n^{human.digits(line.slope, 3)}", f"{human.digits(line.low, 3)} {'–' if line.low >= 0 else 'to'} {human.digits(line.high, 3)}")


# ---- traces at both speeds ----

def _recorded(results):
    rows = results.get("replay_speed", ())
    if not rows:
        return Html()
    body = []
    for trace, policy in dict.fromkeys((row["trace"], row["policy"]) for row in rows):
        own = {row["speed"]: row for row in rows if (row["trace"], row["policy"]) == (trace, policy)}
        fast, slow = own.get("maximal"), own.get("recorded")
        body.append([trace, policy, f"{human.time(1e9 * fast['seconds'] / fast['events'])}" if fast else "–",
                     *_pauses(fast), human.seconds(slow["seconds"]) if slow else "not replayed so", *_pauses(slow), _calls(slow)])
    headers = ("trace", "policy", "maximal speed: an event", "worst pause", "drains, all", "recorded speed", "worst pause", "drains, all",
               "a call: p50, p99, worst")
    return Html("<h3>Recorded Go programs, at maximal and at recorded speed</h3>") + tables.table(headers, body, texts=2) \
        + tables.paragraph("Pause: the policy's part. At recorded speed each event waits for its moment and every policy takes it in "
                           "turn; a call is an allocation, free or retire, the clock included. At maximal speed the replay's own "
                           "bookkeeping is in the time of an event; a recorded replay of more seconds than its recording fell behind it.", "note")


def _pauses(row):
    if not row or not row["pause_ns"]:
        return ["–", "–"]
    return [human.time(max(row["pause_ns"])), human.time(sum(row["drain_ns"]))]


def _calls(row):
    calls = row.get("call_ns") if row else None
    return f"{human.time(calls['p50'])}, {human.time(calls['p99'])}, {human.time(calls['max'])}" if calls else "–"
