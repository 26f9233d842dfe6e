"""The page's sections. Each is a function of the results that returns HTML; SECTIONS lists them in the page's order."""

import shlex
from typing import Callable, NamedTuple

import compare
import human
import reach
import regimes
import results as find
import stats
import tables
import targets
import workloads
from tables import Html, small, verdict, with_range


class Section(NamedTuple):
    name: str
    title: str
    content: Callable  # (results, figures as HTML) -> HTML


# ---- what was run ----

def introduction(results):
    context = results["context"]
    commit = f"commit {context['commit'][:12]}" if context["commit"] else "a commit that was not noted"
    kind = ("a quick run (fewer cases and repetitions)" if context["quick"] else
            "a full run (to 4 Mi stacks)" if context.get("full") else "a run of the usual extent")
    if "minutes" in context:
        kind += f", given {human.digits(context['minutes'], 2)} minutes,"
    lasted = f" and took {human.seconds(context['seconds'])}" if "seconds" in context else ""
    speed = (f" at {human.digits(context['adds_per_ns'], 2)} GHz (one addition a cycle)" if "adds_per_ns" in context else "")
    load = ", ".join(human.digits(value, 2) for value in context["load"])
    return (f"Stack pools that put off freeing during a garbage collection: do they free too early, and what does "
            f"putting off cost? This is {kind} of {commit} on {_date(context)} with `{context['command']}`{lasted}: "
            f"{context['cpu']}, {context['cpus']} CPUs{speed}, {context['kernel']}, {context['compiler']}, build "
            f"“{context['build']}”, transparent huge pages “{context['thp']}”, load {load} at the start.")


def _date(context):
    return context["date"].replace("T", " ").replace("Z", " UTC")


def absent_parts(results):
    """What this file lacks, as texts; an interrupted run, or one of a part only."""
    wanted = (("drain", "the drain study"), ("pause", "the pause study"), ("hiccup", "the hiccup meter"),
              ("noise", "the noise floor"), ("fuzz", "fuzzing"), ("defects", "the planted defects"),
              ("replay", "the replays"),
              ("go", "real Go's figures"), ("timeline", "the spans of a cycle"), ("touched", "what enqueueing touches"),
              ("pairs", "allocation and free against other allocators"), ("go_program", "real Go's program with our pools"),
              ("burst", "bursts"), ("pinned", "pinned stacks"), ("processors", "growth with processors"),
              ("replay_speed", "replays at speed"), ("instructions", "counted instructions"))
    absent = [text for name, text in wanted if not results.get(name)]
    measured = {row["policy"] for row in find.drain_rows(results) + find.pause_rows(results)}
    if measured:
        asked = (find.SERIAL, find.HAND_OFF[0], find.FLOOR)
        absent += [f"the policy {policy}" for policy in asked if policy not in measured]
    return absent


def in_short(results, _):
    return tables.items([_correctness(results), *_cost(results), *regimes.recommendations(results),
                         reach.summary(results)])


def _correctness(results):
    if not results.get("fuzz") and not results.get("replay"):
        return "Freed too early? Not asked: neither fuzzing nor replays are in this run."
    found = find.unexpected_findings(results)
    asked = f"{human.big(find.executions(results))} fuzzed programs and {len(results.get('replay', ()))} replays"
    if found:
        return Html(f"Freed too early? {verdict('bad', 'Found')}: {tables.html('; '.join(found))} ({asked}).")
    return (f"Freed too early? In {asked} no policy but the known-bad control ({find.FLOOR}) broke an invariant"
            f"{_caught(results)}.")


def _caught(results):
    control = [row for row in results.get("fuzz", ()) if find.is_control(row)]
    if not control:
        return ""
    caught = any(row["findings"] for row in control)
    return ", and the control was caught" if caught else ", but the control was not caught either"


def _cost(results):
    """One sentence for each of the question's numbers of stacks that were measured."""
    return [_answer(results, stacks) for stacks in find.HEADLINE_STACKS
            if find.headline_rows(results, cache="cold", stacks=stacks, policy=find.SERIAL)]


def _answer(results, stacks):
    serial = find.first(find.headline_rows(results, cache="cold", stacks=stacks, policy=find.SERIAL))
    chase = stats.median(stats.ratios(serial["pause_ns"], serial["chase_ns"]))
    text = (f"{human.count(stacks)} stacks: serial draining adds {human.time(stats.median(serial['pause_ns']))} to "
            f"the pause ({human.ratio(chase)} a pointer chase over them)")
    handed = find.first(find.hand_off_rows(results, cache="cold", stacks=stacks))
    if handed:
        text += (f"; handed over, {human.time(stats.median(handed['pause_ns']))} stay in the pause and "
                 f"{human.time(stats.median(handed['after_ns']))} follow after the restart")
    stall = _hand_off_pause(results, stacks)
    if stall:
        text += (f", where one allocation or free waited {human.time(max(stall['stall_ns']))} at worst "
                 f"(stacks of {human.size(stall['stack_bytes'])})")
    spanwise = find.first(find.headline_rows(results, cache="cold", stacks=stacks, policy=find.SPANWISE))
    if spanwise:
        text += (f"; freed span by span ({find.SPANWISE}), that later work is "
                 f"{human.time(stats.median(spanwise['after_ns']))}")
    return text + "."


def _hand_off_pause(results, stacks):
    """The pause study's row of the hand-off with so many stacks, the mutators within the cores."""
    wanted = {"policy": find.HAND_OFF[0], "variant": find.HAND_OFF[1], "stacks": stacks, "oversubscribed": False}
    return find.first(row for row in find.pause_rows(results, **wanted) if row["stall_ns"])


# ---- the question ----

def question(results, _):
    rows, estimates = [], []
    for stacks in find.HEADLINE_STACKS:
        row, used = _question_row(results, stacks)
        rows.append(row)
        estimates += used
    headers = ("stacks", "serial: pause", "serial / chase", "hand-off: pause", "its drain after the restart",
               "worst stall then")
    return Html(
        tables.paragraph("What does serial draining add to the pause at 1 Ki, 100 Ki and 1 Mi stacks, and where does "
                         "that cost go when it is moved?", "question")
        + tables.table(headers, rows)
        + tables.paragraph(
            f"Stacks of {human.size(find.HEADLINE_BYTES)}, all shrunk in one cycle, in random order, in an aged pool, "
            "all caches cold. The chase is a walk over the same addresses in the same repetition, each load waiting "
            "for the one before: the least that following links through the stacks can cost. Hand-off is "
            f"{', '.join(find.HAND_OFF)}. The stall is the worst single allocation or free of a mutator in the pause "
            "study, at its stack size. "
            + _machine_stall(results) + tables.range_kind(estimates), "note")
        + _go_after(results) + _go_live(results))


def _question_row(results, stacks):
    serial = find.first(find.headline_rows(results, cache="cold", stacks=stacks, policy=find.SERIAL))
    handed = find.first(find.hand_off_rows(results, cache="cold", stacks=stacks))
    estimates = [stats.estimate(serial["pause_ns"]) if serial else None,
                 stats.estimate(stats.ratios(serial["pause_ns"], serial["chase_ns"])) if serial else None,
                 stats.estimate(handed["pause_ns"]) if handed else None,
                 stats.estimate(handed["after_ns"]) if handed else None]
    cells = [with_range(estimate, human.ratio if place == 1 else human.time) if estimate else "not measured"
             for place, estimate in enumerate(estimates)]
    stall = _hand_off_pause(results, stacks)
    return [human.count(stacks), *cells, _worst_stall(stall) if stall else "not measured"], estimates


def _worst_stall(row):
    middle = human.time(stats.median(row["stall_ns"]))
    return small(human.time(max(row["stall_ns"])),
                 f"median {middle} of {len(row['stall_ns'])} cycles, {human.size(row['stack_bytes'])}")


def _machine_stall(results):
    hiccup = results.get("hiccup")
    if not hiccup or not hiccup["latency"]["count"]:
        return ""
    return f"With no pool at work the machine stalled a thread for up to {human.time(hiccup['latency']['max'])}. "


def _go_after(results):
    """Where real Go moved the cost to."""
    rows = [row for row in find.go_rows(results, tree=find.GO_AFTER, gomaxprocs=1) if row["ns_per_stack_med"] > 0]
    if not rows:
        return ""
    row = max(rows, key=lambda one: (one["stacks"], -one["stack_bytes"]))
    return tables.paragraph(
        f"Real Go moved it too: with {human.count(row['stacks'])} stacks of {human.size(row['stack_bytes'])}, Go "
        f"1.19.8 (instrumented, measured on another day) stops the world for {human.time(row['pause_ns_med'])} and "
        f"walks its stack spans for {human.time(row['drain_ns_med'])} afterwards.")


def _go_live(results):
    """What this machine's own Go says of itself, in the same run."""
    rows = find.go_live_rows(results)
    if not rows:
        return ""
    body, estimates = [], []
    for row in rows:
        ours = find.first(find.pause_rows(results, policy=find.SPANWISE, stacks=row["stacks"], stack_bytes=row["stack_bytes"],
                                          oversubscribed=False))
        used = [stats.estimate(row["pause_ns"]), stats.estimate(row["cycle_ns"]),
                stats.estimate(find.split_values(ours, "drain_ns")) if ours else None]
        estimates += used
        shrunk = f"{human.size(stats.median(row['stack_bytes_grown']))} → {human.size(stats.median(row['stack_bytes_after']))}"
        body.append([f"{human.count(row['stacks'])} × {human.size(row['stack_bytes'])}", with_range(used[0]),
                     human.time(stats.median(row["gctrace_ns"])) if row["gctrace_ns"] else "–", with_range(used[1]), shrunk,
                     with_range(used[2])])
    headers = ("goroutines", "Go: all stops", "by gctrace", "Go: whole collection", "memory in stacks",
               f"{find.SPANWISE}: in the pause")
    version = find.go_live_rows(results)[0]["version"]
    return Html(f"<h3>This machine's Go ({tables.html(version)}), in the same run</h3>") + tables.table(headers, body) \
        + tables.paragraph("Its stacks grow and are halved by one forced collection, as ours; it marks with the world running, so "
                           "its stops hold no mark. Told by itself: MemStats, runtime/metrics, gctrace. "
                           f"{tables.range_kind(estimates)}", "note")


# ---- per policy ----

def policies(results, _):
    groups = find.pause_groups(results, oversubscribed=False)
    text = Html("").join(_policy_table(key, rows) for key, rows in groups) if groups else tables.missing(
        "The pause study is not in this run, or not with mutators within the cores.")
    small, large = ({row["policy"] for _, rows in groups for row in rows} for groups in find.small_and_large(results))
    if small and large - small:
        text += tables.paragraph(f"{', '.join(sorted(large - small))}: of large stacks alone. A small one is copied and waits in "
                                 f"{find.SERIAL}'s queue: it pauses, stalls and holds as {find.SERIAL} does.", "note")
    crowded = find.pause_groups(results, oversubscribed=True)
    if crowded:
        text += Html("<h3>Oversubscribed: apart, no headline</h3>") + tables.paragraph(
            "More threads than cores: a pause here also holds the scheduler's waits for a core.", "note")
        text += Html("").join(_policy_table(key, rows) for key, rows in crowded)
    return Html(text)


def _policy_table(key, rows):
    stacks, size, mutators, markers = key
    estimates = []
    body = [_policy_row(row, estimates) for row in rows]
    threads = f"{mutators} mutator{'s' * (mutators > 1)}, {markers} marker{'s' * (markers > 1)}"
    label = " (oversubscribed)" if rows[0]["oversubscribed"] else ""
    headers = ("policy", "pause: drain's part", "whole pause", "stall after restart", "drained then in",
               "drain CPU", "held bytes")
    cycles = max(len(row["splits"]) for row in rows)
    return Html(f"<h3>{human.count(stacks)} stacks of {human.size(size)}, {threads}{label}</h3>"
                + tables.table(headers, body)
                + tables.paragraph(f"Medians of {cycles} cycles; what came before them, and touched the pages for the first time, is not "
                                   f"counted. “Drained then in”: from the restart until nothing was "
                                   f"deferred. {tables.range_kind(estimates)}", "note"))


def _policy_row(row, estimates):
    samples = (find.split_values(row, "drain_ns"), find.whole_pauses(row), row["stall_ns"], row["drain_over_ns"],
               row["drain_cpu_ns"])
    used = [stats.estimate(values) for values in samples]
    estimates += used
    cells = [with_range(estimate) for estimate in used]
    if find.still_held(row):
        cells[3] = small("not over", "when the watch ended")
    elif used[3] and used[3].high == 0:
        cells[3] = "in the pause" if find.held_most(row) else "nothing held"
    return [find.label(row), *cells, human.size(find.held_most(row))]


# ---- graphs ----

def graphs(_, figures):
    return figures


# ---- the scoreboard of planted defects ----

def teeth(results, _):
    if not results.get("defects"):
        return tables.missing("The scoreboard of planted defects is not in this run.")
    headers = ("defect", "planted in", "reported by", "found, empty corpus", "executions", "time, median", "worst", "from the corpus")
    empty = find.defect_trials(results, corpus="empty")
    committed = find.defect_trials(results, corpus="committed")
    names = list(empty | committed)
    body = [_defect(name, empty.get(name, []), committed.get(name, [])) for name in names]
    return Html(tables.paragraph(
        f"{len(names)} bugs, most of them once Go's, are planted one at a time; a fuzzer that knows nothing of them "
        "runs until something is reported. Executions and times are of the report, from an empty corpus.")
        + tables.table(headers, body, texts=3))


def _defect(name, empty, committed):
    rows = empty or committed
    found = [row for row in empty if row["reported"]]
    by = sorted({row["by"] for row in rows if row["reported"]})
    seconds = [row["seconds"] for row in found]
    return [name, rows[0]["policy"], ", ".join(by) or verdict("bad", "nothing"),
            f"{len(found)} of {len(empty)}" if empty else "–",
            human.big(stats.median([row["executions"] for row in found])) if found else "–",
            human.seconds(stats.median(seconds)) if found else "–", human.seconds(max(seconds)) if found else "–",
            f"{sum(row['reported'] for row in committed)} of {len(committed)}" if committed else "–"]


# ---- fuzzing and replays ----

def fuzzing(results, _):
    rows = results.get("fuzz")
    if not rows:
        return tables.missing("Fuzzing is not in this run.")
    body = [[row["fuzzer"], row["policy"], row["engine"], human.seconds(row["seconds"]), human.big(row["executions"]),
             human.big(row["exec_per_second"]), _corpus(row), _findings(row)] for row in rows]
    headers = ("fuzzer", "policy", "engine", "time", "executions", "a second", "corpus", "findings")
    return Html(tables.table(headers, body, texts=3) + tables.paragraph(
        f"{find.FLOOR} frees at once during the mark: the control that the fuzzers must catch.", "note") + _unchecked(results))


def _unchecked(results):
    return Html("").join(tables.paragraph(f"Not checked of {name}, because it shows no spans or slots: {', '.join(ids)}.", "note")
                         for name, ids in find.unchecked(results).items())


def _corpus(row):
    if "corpus" not in row:
        return "–"
    inputs = human.big(row["corpus"])
    return small(inputs, f"{human.big(row['edges'])} edges") if "edges" in row else inputs


def _findings(row):
    texts = "; ".join(row["findings"])
    if not find.is_control(row):
        return small(verdict("bad", f"{len(row['findings'])} found"), texts) if texts else verdict("good", "none")
    if any(finding.startswith(find.CONTROL_FINDING) for finding in row["findings"]):
        return small(verdict("expected", "expected: known-bad control"), texts)
    return small(verdict("unsure", f"control did not break {find.CONTROL_FINDING}"), texts or "nothing found in time")


def replays(results, _):
    rows = results.get("replay")
    if not rows:
        return tables.missing("No trace was replayed in this run.")
    body = [[row["trace"], row["policy"], human.big(row["events"]), _of_trace(row, "allocations"),
             _of_trace(row, "frees"), row["cycles"], _violations(row), human.size(row["peak_held_bytes"]), _spans(row),
             _taken(row)] for row in rows]
    headers = ("trace", "policy", "events", "allocations", "frees", "cycles", "violations", "held at most",
               "spans: mean error", "spans taken: worst size")
    return Html(tables.table(headers, body, texts=2) + tables.paragraph(
        "Small figures under allocations and frees: what the trace of the real Go program has. The last two columns: "
        "spans in use and spans taken from the heap, against those that the real runtime had.", "note"))


def _of_trace(row, what):
    real = row[f"trace_{what}"]
    if row[what] == real:
        return small(human.big(real), "as in the trace")
    return small(human.big(row[what]), f"trace {human.big(real)} ({100 * (row[what] - real) / max(1, real):+.2g} %)")


def _violations(row):
    if not row["violations"]:
        return verdict("good", "0")
    if find.is_control(row):
        return small(verdict("expected", human.big(row["violations"])), "expected: known-bad control")
    return verdict("bad", human.big(row["violations"]))


def _spans(row):
    fidelity = row.get("fidelity")
    if not fidelity or not fidelity["spans_mean"]:
        return "–"
    error = fidelity["spans_mean_abs_error"]
    return small(human.percent(error / fidelity["spans_mean"]),
                 f"{human.digits(error, 2)} of {human.digits(fidelity['spans_mean'])}")


def _taken(row):
    errors = row.get("fidelity", {}).get("taken_error_percent")
    if not errors:
        return "–"
    size, error = max(errors.items(), key=lambda one: abs(one[1]))
    return small(f"{error:+.2g} %", f"of {human.size(int(size))}" if size.isdigit() else size)


# ---- what can be seen at all ----

def noise(results, _):
    texts = [_resolution(results), _hiccups(results)]
    context = results["context"]
    texts.append(f"Reading the clock takes {human.time(context['clock_overhead_ns'])}; its smallest step is "
                 f"{human.time(context['clock_step_ns'])}. Nothing shorter than that is told apart.")
    return tables.items(texts)


def _resolution(results):
    values = results.get("noise", {}).get("aa_ratio")
    if not values:
        return "The noise floor was not measured in this run."
    middle = stats.estimate(values)
    low, high = stats.percentile(values, 0.025), stats.percentile(values, 0.975)
    off = max(abs(1 - low), abs(high - 1), 1e-6)
    kind = "95 % CI" if middle.interval else "minimum to maximum"
    return (f"The same thing measured twice ({results['noise']['what']}; {len(values)} pairs): median ratio "
            f"{human.digits(middle.mid)} ({kind} {human.digits(middle.low)} to {human.digits(middle.high)}), 2.5 to "
            f"97.5 % of the pairs {human.digits(low)} to {human.digits(high)}. Between two repetitions, differences "
            f"below {human.percent(off)} are not resolvable in this run; medians of many resolve more, as their "
            "intervals say.")


def _hiccups(results):
    hiccup = results.get("hiccup")
    if not hiccup or not hiccup["latency"]["count"]:
        return "The hiccup meter did not run."
    latency = hiccup["latency"]
    shown = ", ".join(f"{name} {human.time(stats.histogram_quantile(latency, q))}"
                      for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)))
    return (f"A thread that only reads the clock, for {human.seconds(hiccup['seconds'])}: {shown}, max "
            f"{human.time(latency['max'])}. A single worst stall below that maximum may be the machine's.")


# ---- against an earlier run ----

def compared(results, _):
    if "older" not in results:
        return tables.paragraph("No earlier run was given; generate.py and report take one with --compare-with.", "note")
    found = compare.compare(results["older"], results)
    changed = [one for one in found if one.change]
    older = results["older"]["context"]
    text = tables.paragraph(f"The earlier run is of {_date(older)}, commit {older['commit'][:12]}. {len(found)} rows compared; "
                            f"{len(found) - len(changed)} are the same within noise.")
    body = [[one.name, one.measure.name, compare.shown(one.measure, one.old),
             with_range(one.ratio, human.ratio) if not one.measure.counted else human.ratio(one.ratio.mid),
             compare.shown(one.measure, one.new), verdict("bad" if one.change == "worse" else "good", one.change)]
            for one in changed]
    return Html(text + tables.table(("row", "figure", "then", "now / then", "now", ""), body, texts=2)) if body else text


def notes(results, _):
    found = [*results["context"]["notes"]]
    steps = results["context"].get("steps")
    text = tables.items(found) if found else tables.paragraph("None.")
    if steps:
        text += tables.table(("what was run, in this order", "took"), [[step["what"], human.seconds(step["seconds"])] for step in steps])
    return Html(text)


# ---- allocation and free, beside others ----

def allocators(results, _):
    rows = reach.pair_rows(results)
    if not rows:
        return tables.missing("Allocation pairs were not measured in this run.")
    live = {row["allocator"]: row for row in results.get("live", ())}
    text = Html()
    for size in sorted({row["stack_bytes"] for row in rows}):
        body, estimates = [], []
        columns = list(dict.fromkeys((row["threads"], row["pattern"]) for row in rows))
        for name in dict.fromkeys(row["allocator"] for row in rows):
            cells = [find.first(reach.pair_rows(results, allocator=name, stack_bytes=size, threads=threads, pattern=pattern))
                     for threads, pattern in columns]
            used = [stats.estimate(cell["pair_ns"]) if cell else None for cell in cells]
            estimates += used
            body.append([name, *(with_range(one, reach.each_ns) for one in used)])
        headers = ("allocator", *(f"{pattern}, {threads} thread{'s' * (threads > 1)}" for threads, pattern in columns))
        text += Html(f"<h3>Stacks of {human.size(size)}: a pair of an allocation and its free</h3>" + tables.table(headers, body))
    text += tables.paragraph("Medians over processes of their own, taken in turns: those of others first, then our "
                             "policies. The free list is the least that a pair can cost; Boost's pooled allocator must not be shared, so each "
                             f"thread has one. {tables.range_kind(estimates)}", "note")
    if live:
        body = [[name, f"{row['live']:,}", {"": "all that were asked for", "refused": verdict("unsure", "then it is refused"),
                 "no guard page": verdict("bad", "then stacks come without their guard page, and nothing says so")}[row["ended_by"]]]
                for name, row in live.items()]
        first = next(iter(live.values()))
        text += Html(f"<h3>Live at a time, of {first['asked']:,} stacks of {human.size(first['stack_bytes'])}</h3>"
                     + tables.table(("allocator", "live", ""), body)) + tables.paragraph(
            "A guard page splits a mapping in two, and Linux allows 65,530 mappings a process (vm.max_map_count).", "note")
    return text


def reproduce(results, _):
    context = results["context"]
    lines = [f"git checkout {shlex.quote(context['commit'])}"] if context["commit"] else []
    lines += [context["command"], "reports/generate.py results.json --out DIR    # this page again"]
    text = tables.html("\n".join(lines))
    return Html(f'<div class="scroll" tabindex="0"><pre>{text}</pre></div>') + tables.paragraph(
        "Times differ from machine to machine; compare ratios, and see the noise floor first.", "note")


SECTIONS = (
    Section("short", "In short", in_short),
    Section("question", "The question", question),
    Section("policies", "Pause, stall, CPU and held bytes by policy", policies),
    Section("regimes", "Which policy wins on what, from which n on", regimes.regimes),
    Section("workloads", "Workloads, and what the cost grows with", workloads.workloads),
    Section("allocators", "Allocation and free, beside other allocators", allocators),
    Section("graphs", "Graphs", graphs),
    Section("targets", "Targets", targets.targets),
    Section("fuzzing", "Fuzzing", fuzzing),
    Section("teeth", "Planted defects", teeth),
    Section("replays", "Replays of recorded Go programs", replays),
    Section("noise", "Noise floor", noise),
    Section("compared", "Against an earlier run", compared),
    Section("notes", "Notes", notes),
    Section("reproduce", "How to reproduce", reproduce),
)
