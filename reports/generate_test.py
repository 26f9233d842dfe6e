"""Tests of the report generator: statistics, numbers for people, the schema, and a small results.json all the way."""

import contextlib
import copy
import io
import json
import random
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import compare
import generate
import go_data
import human
import reach
import regimes
import results as find
import schema
import stats

GRAPH_NAMES = ("pause", "pareto", "per-stack", "pause-split", "latency", "mmu", "held", "timeline", "throughput", "noise",
               "instructions", "survival")
KINDS = ("svg", "png", "csv")
SECTION_NAMES = ("short", "question", "policies", "regimes", "workloads", "allocators", "graphs", "targets", "fuzzing", "teeth", "replays", "noise", "compared", "notes",
                 "reproduce")


# ---- a small results.json ----

def histogram(*buckets):
    return {"unit": "ns", "count": sum(count for _, count in buckets), "buckets": [list(one) for one in buckets],
            "max": buckets[-1][0]}


def drain_row(policy, variant, stacks, pause, **other):
    row = {"policy": policy, "variant": variant, "stacks": stacks, "stack_bytes": 4096, "order": "random",
           "share": "all", "cache": "cold", "aged": True,
           "pause_ns": [pause * factor for factor in (1, 1.1, 0.9, 1.05, 0.95, 1, 1)],
           "after_ns": [150.0 * stacks] * 7, "enqueue_ns": [5.0 * stacks] * 7, "chase_ns": [150.0 * stacks] * 7,
           "held_bytes": 4096 * stacks, "locks_taken": 5, "spans_released": 2}
    return row | other


def drain():
    rows = []
    for stacks in (16, 1024, 102400, 1048576):
        for cache in ("cold", "warm"):
            rows += [drain_row("immediate", "", stacks, 30.0, cache=cache),
                     drain_row("serial", "", stacks, 120.0 * stacks, cache=cache, chase_ns=[120.0 * stacks] * 7),
                     drain_row("after-restart", "whole", stacks, 40.0, cache=cache)]
        rows.append(drain_row("serial", "", stacks, 20.0 * stacks, order="address", aged=False,
                              chase_ns=[20.0 * stacks] * 7))
        rows.append(drain_row("sorted-batch", "", stacks, 5.0 * stacks))
        rows += [drain_row("bitmap", "", stacks, 30.0, cache=cache, spans_released=0, after_ns=[0.1 * stacks] * 7,
                           spans_kept=stacks // 8, release_ns=[0.1 * stacks + 900.0] * 7, idle_ns=[900.0] * 7)
                 for cache in ("cold", "warm")]
        rows.append(drain_row("bitmap", "", stacks, 30.0, share="half", cache="warm", spans_released=0,
                              after_ns=[40.0] * 7, spans_kept=0, release_ns=[90.0] * 7, idle_ns=[80.0] * 7))
    for policy, each in (("serial", 150.0), ("sorted-batch", 2.0)):
        rows.append(drain_row(policy, "", 4096, each * 4096, stack_bytes=2048, chase_ns=[150.0 * 4096] * 7))
    return rows


def pause_row(policy, variant, drain_ns, over_ns, **other):
    split = {"stop_ns": 3000.0, "mark_ns": 2e7, "drain_ns": drain_ns, "restart_ns": 2e4, "resumed_ns": 6e4}
    held = [] if policy == "immediate" else [[2.1e7, 8 << 20], [2.1e7 + over_ns, 0]]
    row = {"policy": policy, "variant": variant, "stacks": 1024, "stack_bytes": 8192, "mutators": 1, "markers": 1,
           "oversubscribed": False, "splits": [split] * 3, "mark_faults": [2.0] * 3, "drain_cpu_ns": [drain_ns + over_ns] * 3,
           "drain_over_ns": [over_ns] * 3, "stall_ns": [7e4, 8e4, 9e4],
           "latency": histogram((60, 900), (120, 99), (90000, 1)),
           "latency_corrected": histogram((60, 900), (120, 99), (90000, 50)), "expected_interval_ns": 60.0,
           "held": [[0.0, 0], *held], "hiccup_ns": [2e4, 3e4, 4e4], "hiccup_window_ns": 2e8,
           "stalls": [[0.0, 2.1e7], [3e7, 9e4]], "hiccup_stalls": [[1e6, 5e4]], "stalls_from_ns": 1000.0,
           "watched_ns": 2.2e8, "switches": 3, "stolen_ns": 0.0}
    return row | other


def pair_row(allocator, kind, threads, pattern, ns):
    return {"allocator": allocator, "kind": kind, "threads": threads, "pattern": pattern, "stack_bytes": 8192,
            "pair_ns": [ns, ns * 1.1, ns * 0.9]}


def pairs():
    rows = []
    for allocator, kind, ns in (("bitmap", "policy", 2.0), ("serial", "policy", 3.0), ("tcmalloc", "peer", 4.0)):
        for threads in (1, 2):
            rows += [pair_row(allocator, kind, threads, pattern, ns * threads)
                     for pattern in ("hot", "lifo", "fifo", "random")]
    return rows


def timeline_row(policy, states):
    phases = ("running", "mark", "drained", "after")
    return {"policy": policy, "variant": "", "stacks": 64, "stack_bytes": 8192, "offsets": [0, 32768, 65536],
            "moments": [{"ns": 1e4 * place, "phase": phase} for place, phase in enumerate(phases)], "states": states}


def after_row(policy, variant="", **other):
    return pause_row(policy, variant, 200.0, 5e4, stacks=262144, **other)


def large_row(policy, drain_ns, **other):
    return pause_row(policy, "", drain_ns, 0.0, stacks=4096, stack_bytes=65536, **other)


def fuzz_row(policy, findings):
    return {"fuzzer": "policy_fuzzer", "policy": policy, "engine": "libfuzzer", "seconds": 10.0,
            "executions": 1_500_000, "exec_per_second": 150_000.0, "findings": findings, "corpus": 40, "edges": 500}


def defect_row(defect, corpus, seconds, reported=True):
    return {"defect": defect, "policy": "serial", "engine": "libfuzzer", "corpus": corpus, "seed": 1, "limit": 60.0,
            "reported": reported, "by": "A3" if reported else "", "explained": "A3" if reported else "", "right": reported,
            "executions": 100, "seconds": seconds, "reached_executions": 3, "reached_seconds": 0.01}


def replay_row(policy, violations):
    return {"trace": "http", "policy": policy, "preset": "go119", "seconds": 1.0, "events": 9000, "allocations": 400,
            "frees": 390, "trace_allocations": 400, "trace_frees": 391, "cycles": 3, "violations": violations,
            "peak_held_bytes": 65536, "peak_stack_bytes": 1 << 20,
            "fidelity": {"spans_mean": 40.0, "spans_mean_abs_error": 2.0, "taken_error_percent": {"2048": 1.5}}}


def go_live_row(cycle_ns):
    """Of about as many goroutines as a row of real Go's figures."""
    return {"version": "go1.19.8", "gomaxprocs": 2, "stack_bytes": 8192, "stacks": 102400, "pause_ns": [2.5e4] * 7,
            "stops": [2] * 7, "cycle_ns": [cycle_ns] * 7, "stack_bytes_grown": [800 << 20] * 7,
            "stack_bytes_after": [400 << 20] * 7, "gctrace_ns": [2.4e4] * 7}


def go_program_row(cache, each, stacks=1000):
    return {"policy": "serial", "stacks": stacks, "stack_bytes": 4096, "cache": cache,
            "drain_ns": [stacks * each * factor for factor in (1, 1.1, 0.9, 1.05, 0.95, 1, 1)]}


def burst_row(policy, **other):
    return {"policy": policy, "variant": "", "stacks": 64, "stack_bytes": 8192, "grow_ns": [64e3, 6400.0, 6400.0],
            "pause_ns": [640.0] * 3, "after_ns": [0.0] * 3, "spans_taken": [20, 16, 16], "spans_released": [16, 16, 16],
            "held_bytes": [1 << 20] * 3, "span_bytes_grown": [1 << 20] * 3, "span_bytes_idle": [1 << 18] * 3,
            "live_bytes_idle": [1 << 17] * 3} | other


def workloads():
    halved = {"variant": "", "stacks": 64, "stack_bytes": 65536, "grown_bytes": 4 << 20, "live_bytes": 6 << 20}
    pinned = {"variant": "", "stacks": 64, "stack_bytes": 4096, "live_bytes": 4096, "pause_ns": [100.0] * 7, "after_ns": [10.0] * 7}
    call = {"p50": 50, "p99": 90, "p999": 200, "max": 900, "count": 400}
    return {"go_program": [go_program_row("cold", 100.0), go_program_row("as left", 20.0)],
            "burst": [burst_row("serial"), burst_row("bitmap")],
            "halved": [halved | {"policy": "serial", "collected_bytes": 6 << 20, "again_bytes": 6 << 20},
                       halved | {"policy": "in-place", "collected_bytes": 4 << 20, "again_bytes": 8 << 20}],
            "pinned": [pinned | {"policy": "serial", "every": every, "span_bytes": 4096 * min(8, every)} for every in (2, 64)],
            "processors": [{"policy": "serial", "variant": "", "procs": procs, "stacks": 64, "stack_bytes": 2048,
                            "cycle_ns": [1000.0 + 50 * procs + off for off in (-1, 0, 1)]} for procs in (1, 4, 64)],
            "live": [{"allocator": name, "kind": "peer", "stack_bytes": 8192, "asked": 102400, "live": live, "ended_by": by}
                     for name, live, by in (("glibc", 102400, ""), ("mmap", 32742, "refused"), ("boost-protected", 32743, "no guard page"))],
            "replay_speed": [{"trace": "http", "policy": "serial", "speed": "maximal", "seconds": 0.001, "events": 1000, "violations": 0,
                              "pause_ns": [400.0, 900.0], "drain_ns": [0.0, 30.0]},
                             {"trace": "http", "policy": "serial", "speed": "recorded", "seconds": 2.0, "events": 1000, "violations": 0,
                              "pause_ns": [800.0, 1900.0], "drain_ns": [0.0, 60.0], "call_ns": call}]}


def fixture():
    context = {"date": "2026-01-02T03:04:05Z", "commit": "0123456789abcdef", "cpu": "Test <CPU>", "cpus": 2,
               "kernel": "Linux 6", "thp": "madvise", "compiler": "clang", "build": "release", "load": [0.1, 0.2, 0.3],
               "clock_overhead_ns": 20.0, "clock_step_ns": 1.0, "adds_per_ns": 2.51, "quick": True, "command": "./stackdrain report --quick",
               "seconds": 61.0, "notes": ["a note of this run"]}
    return {"schema": "stackdrain-results", "version": 1, "context": context, "drain": drain(),
            "pause": [pause_row("immediate", "", 200.0, 0.0), pause_row("serial", "", 4e4, 0.0),
                      pause_row("after-restart", "whole", 240.0, 4.4e4),
                      pause_row("serial", "", 4e4, 0.0, mutators=4, markers=2, oversubscribed=True),
                      large_row("serial", 4e4), large_row("in-place", 60.0, held=[[0.0, 0]]),
                      after_row("bitmap", latency=histogram((60, 990), (2000, 10)))],
            "touched": [{"policy": policy, "stacks": 4096, "stack_bytes": 4096, "touched": touched}
                        for policy, touched in (("serial", 4096), ("sorted-batch", 0), ("bitmap", 0))],
            "pairs": pairs(),
            "policies": [{"name": "serial", "what": "a queue", "origin": "Go", "sound": True, "unchecked": []},
                         {"name": "theirs", "what": "a pool of theirs", "origin": "my.h", "sound": True, "unchecked": ["A4", "B1"]}],
            "go_live": [{"version": "go1.19.8", "gomaxprocs": 2, "stack_bytes": 8192, "stacks": 1024, "pause_ns": [2e4] * 7,
                         "stops": [2] * 7, "cycle_ns": [9e6] * 7, "stack_bytes_grown": [8 << 20] * 7,
                         "stack_bytes_after": [4 << 20] * 7, "gctrace_ns": [1.9e4] * 7},
                        go_live_row(2e8)],
            "timeline": [timeline_row("immediate", ["SSS", "SFS", "FF-", "FFR"]), timeline_row("serial", ["SSS", "SSS", "FFF", "FRF"])],
            "instructions": [{"policy": policy, "stack_bytes": 4096, "step": step, "instructions": count, "d1_misses": count / 60,
                              "ll_misses": 0.0} for policy, count in (("serial", 190.0), ("bitmap", 0.5))
                             for step in ("retire", "end_mark", "drain", "release", "pair")],
            "hiccup": {"latency": histogram((30, 9990), (50000, 10)), "seconds": 2.0},
            "noise": {"aa_ratio": [0.98, 1.0, 1.01, 1.02, 0.99, 1.0, 1.03], "what": "serial twice"},
            "defects": [defect_row("a-bug", "empty", 0.2), defect_row("a-bug", "empty", 0.4), defect_row("b-bug", "empty", 60.0, False),
                        defect_row("a-bug", "committed", 0.02)],
            "fuzz": [fuzz_row("serial", []), fuzz_row("immediate", ["A3 a loaded pointer lies in a freed span"])],
            "replay": [replay_row("serial", 0), replay_row("immediate", 2)],
            "go": go_data.load_go(HERE / "data")} | workloads()


class Run:
    """The generator run on a results.json in a folder of its own, which is gone afterwards."""

    def __init__(self, content, *flags):
        text = content if isinstance(content, str) else json.dumps(content)
        self.files = {}
        out, errors = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "results.json", Path(folder) / "made" / "report"
            source.write_text(text, encoding="utf-8")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                self.status = generate.main([str(source), "--out", str(target), *flags])
            if target.exists():
                self.files = {path.name: path.read_bytes() for path in target.iterdir()}
        self.printed, self.errors = out.getvalue(), errors.getvalue()
        self.page = self.files.get("index.html", b"").decode()


def quick_run(content, *flags):
    """Draws and lays out everything, but writes no pictures: most of the time goes there."""
    import drawing

    def close(figure, *_):
        drawing.pyplot.close(figure)
        return "<svg></svg>"
    with mock.patch.object(drawing, "save", close):
        return Run(content, *flags)


class StatsTest(unittest.TestCase):
    def test_median(self):
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertEqual(stats.median([4, 1, 2, 3]), 2.5)

    def test_interval_is_the_known_order_statistics(self):
        # From tables of the sign test: 6 → 1st and 6th, 9 → 2nd and 8th, 21 → 6th and 16th, 100 → 40th and 61st.
        self.assertEqual([stats.interval_rank(count) for count in (6, 9, 21, 100)], [1, 2, 6, 40])
        found = stats.estimate(range(1, 22))
        self.assertEqual((found.mid, found.low, found.high, found.interval), (11, 6, 16, True))

    def test_few_values_give_minimum_and_maximum(self):
        self.assertEqual(stats.estimate([5, 1, 3]), (3, 1, 5, False, 3))
        self.assertIsNone(stats.estimate([]))

    def test_ratios_leave_out_pairs_without_a_denominator(self):
        self.assertEqual(stats.ratios([2, 3, 4], [1, 0, 2]), [2, 2])

    def test_line_through_exact_points(self):
        line = stats.fit_line([(x, 3 * x + 1) for x in range(10)])
        self.assertAlmostEqual(line.slope, 3)
        self.assertAlmostEqual(line.high - line.low, 0)

    def test_line_interval_holds_the_slope(self):
        line = stats.fit_line([(x, 2 * x + (-1)**x) for x in range(20)])
        self.assertTrue(line.low < 2 < line.high)

    def test_no_line_through_one_x_or_few_points(self):
        self.assertIsNone(stats.fit_line([(1, 2)] * 9))
        self.assertIsNone(stats.fit_line([(1, 2), (2, 3)]))

    def test_student(self):
        for freedom, known in ((3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)):
            self.assertAlmostEqual(stats.student_95(freedom) / known, 1, delta=0.01)

    def test_histogram(self):
        one = histogram((10, 90), (20, 9), (99, 1))
        self.assertEqual([stats.histogram_quantile(one, q) for q in (0.5, 0.9, 0.99, 1)], [10, 10, 20, 99])
        self.assertEqual(stats.histogram_curve(one), [(0.9, 10), (0.99, 20)])
        self.assertIsNone(stats.histogram_quantile({"count": 0, "buckets": [], "max": 0}, 0.5))

    def test_percentile(self):
        self.assertEqual(stats.percentile([1, 2, 3, 4, 5], 0.5), 3)
        self.assertAlmostEqual(stats.percentile([0, 10], 0.25), 2.5)


class HumanTest(unittest.TestCase):
    def test_time(self):
        shown = [human.time(ns) for ns in (0, 20, 240, 999.9, 12345, 1.234e7, 2e9)]
        self.assertEqual(shown, ["0 ns", "20 ns", "240 ns", "1 µs", "12.3 µs", "12.3 ms", "2.00 s"])

    def test_negative_time(self):
        self.assertEqual(human.time(-30), "-30 ns")

    def test_sizes_and_counts(self):
        self.assertEqual([human.size(n) for n in (0, 4096, 800 << 20, 1536)], ["0 B", "4 KiB", "800 MiB", "1.50 KiB"])
        self.assertEqual([human.count(n) for n in (16, 1024, 102400, 1048576, 100000)],
                         ["16", "1 Ki", "100 Ki", "1 Mi", "100,000"])
        self.assertEqual([human.big(n) for n in (950, 1_234_567)], ["950", "1.23 M"])

    def test_digits(self):
        self.assertEqual([human.digits(x) for x in (0, 1234.5, 0.01234, 99.99)], ["0", "1,230", "0.0123", "100"])

    def test_span_says_the_unit_once(self):
        self.assertEqual(human.span(1e3, 2e3, human.time), "1.00 – 2.00 µs")
        self.assertEqual(human.span(900, 2e3, human.time), "900 ns – 2.00 µs")
        self.assertEqual(human.span(-10, 10, human.time), "-10 to 10 ns")


class SchemaTest(unittest.TestCase):
    def problem(self, change):
        content = fixture()
        change(content)
        with self.assertRaises(schema.BadResults) as caught:
            schema.check(content, json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8")))
        return str(caught.exception)

    def test_fixture_fits(self):
        schema.check(fixture(), json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8")))

    def test_problems_say_where(self):
        def of(path, value):
            def change(content):
                for step in path[:-1]:
                    content = content[step]
                content[path[-1]] = value
            return change
        self.assertEqual(self.problem(of(["drain", 3, "pause_ns"], 7)), "drain[3].pause_ns: must be an array, is 7")
        self.assertEqual(self.problem(of(["drain", 0, "pause_ns", 1], None)),
                         "drain[0].pause_ns[1]: must be a number, is null")
        self.assertEqual(self.problem(of(["drain", 0, "stacks"], True)), "drain[0].stacks: must be an integer, is true")
        self.assertEqual(self.problem(of(["drain", 0, "order"], "up")),
                         'drain[0].order: must be one of "random", "address", is "up"')
        self.assertEqual(self.problem(of(["version"], 2)), "version: must be 1, is 2")
        self.assertEqual(self.problem(of(["pause", 0, "held", 0], [1])), "pause[0].held[0]: must have 2 items, has 1")

    def test_missing_member(self):
        self.assertEqual(self.problem(lambda content: content["pause"][1]["latency"].pop("max")),
                         "pause[1].latency.max: is missing")
        self.assertEqual(self.problem(lambda content: content.pop("context")), "context: is missing")


class GoDataTest(unittest.TestCase):
    def test_rows(self):
        rows = go_data.load_go(HERE / "data")
        self.assertEqual({row["tree"] for row in rows}, {"seed", "go14", "go1.19.8"})
        one = find.go_rows({"go": rows}, stacks=100000, tree="seed", gomaxprocs=1, stack_bytes=4096)[0]
        self.assertLess(one["ns_per_stack_min"], one["ns_per_stack_med"])


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.run_of_all = Run(fixture())

    def test_files(self):
        self.assertEqual(self.run_of_all.status, 0, self.run_of_all.errors)
        expected = {"index.html", *(f"{name}.{kind}" for name in GRAPH_NAMES for kind in KINDS)}
        self.assertEqual(set(self.run_of_all.files), expected)
        for name in GRAPH_NAMES:
            self.assertTrue(self.run_of_all.files[f"{name}.png"].startswith(b"\x89PNG"), name)
            self.assertGreater(len(self.run_of_all.files[f"{name}.png"]), 5000, name)
            self.assertIn(b"currentColor", self.run_of_all.files[f"{name}.svg"], name)
            self.assertRegex(self.run_of_all.files[f"{name}.csv"].decode(), r"^panel,series,x,y\n([^\n]+\n){2,}$", name)

    def test_page_needs_nothing_else(self):
        page = self.run_of_all.page
        self.assertNotRegex(page, r"https?:")
        self.assertEqual(re.findall(r"<script[^>]*>", page), ["<script>"], "of the page's own")
        self.assertNotIn("<link", page)
        addresses = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
        self.assertEqual(set(addresses), {f"{name}.{kind}" for name in GRAPH_NAMES for kind in KINDS})
        self.assertIn("prefers-color-scheme: dark", page)

    def test_ids_are_unique_and_references_lead_somewhere(self):
        ids = re.findall(r'\bid="([^"]+)"', self.run_of_all.page)
        self.assertEqual(len(ids), len(set(ids)))
        wanted = set(re.findall(r'(?:href="#|url\(#)([^")]+)', self.run_of_all.page))
        self.assertEqual(wanted - set(ids), set())

    def test_sections_and_graphs(self):
        for name in SECTION_NAMES:
            self.assertIn(f'<section id="{name}">', self.run_of_all.page)
        self.assertEqual(self.run_of_all.page.count('<svg viewBox='), len(GRAPH_NAMES))
        self.assertNotIn("Not in this run", self.run_of_all.page)
        self.assertIn("Test &lt;CPU&gt;, 2 CPUs at 2.5 GHz (one addition a cycle)", self.run_of_all.page)

    def test_verdicts(self):
        page = self.run_of_all.page
        self.assertIn("expected: known-bad control", page)
        self.assertIn("(oversubscribed)", page)
        self.assertIn("a note of this run", page)
        self.assertIn('<span class="good">met</span>', page)

    def test_this_machines_go(self):
        text = re.sub("<[^>]+>", " ", self.run_of_all.page)
        self.assertRegex(text, r"1 Ki × 8 KiB\s+20\.0 µs\s.*?19\.0 µs\s.*?9\.00 ms\s.*?8 MiB → 4 MiB")
        self.assertIn("this machine's Go,1024,20000", self.run_of_all.files["pause.csv"].decode())

    def test_title_and_an_earlier_run(self):
        self.assertIn("<h1>stackdrain: report</h1>", self.run_of_all.page)
        self.assertIn("No earlier run was given", self.run_of_all.page)
        older = fixture()
        for row in older["drain"]:
            row["after_ns"] = [ns / 3 for ns in row["after_ns"]]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "old.json"
            path.write_text(json.dumps(older), encoding="utf-8")
            run = quick_run(fixture(), "--compare-with", str(path), "--title", "A <title>")
        self.assertIn("<h1>A &lt;title&gt;</h1>", run.page)
        self.assertIn('<span class="bad">worse</span>', run.page)

    def test_every_policy_can_be_hidden(self):
        boxes = set(re.findall(r'data-toggle="([^"]+)"', self.run_of_all.page))
        drawn = set(re.findall(r'data-series="([^"]+)"', self.run_of_all.page))
        self.assertEqual(boxes, set(find.labels(fixture())))
        self.assertLessEqual(boxes, drawn)

    def test_summary(self):
        self.assertRegex(self.run_of_all.printed, r"pause \| stall after restart \| drain CPU \| held bytes")
        self.assertRegex(self.run_of_all.printed, r"after-restart, whole +240 ns \| +80\.0 µs \| +44\.2 µs \| +8 MiB")
        self.assertIn("index.html", self.run_of_all.printed)

    def test_summary_as_json(self):
        said = json.loads(quick_run(fixture(), "--json").printed)
        row = next(row for row in said["rows"] if row["policy"] == "after-restart, whole")
        self.assertEqual([round(row[name]) for name in ("pause_ns", "stall_ns", "held_bytes")], [240, 80000, 8 << 20])
        self.assertEqual(said["targets"]["met"] + len(said["targets"]["missed"]), said["targets"]["judged"])
        self.assertEqual(said["found"], [])

    def test_what_could_not_be_checked_is_named(self):
        run = quick_run(fixture())
        self.assertIn("Not checked of theirs, because it shows no spans or slots: A4, B1.", run.page)
        self.assertIn("theirs shows no spans or slots; not checked of it: A4 B1", run.printed)
        self.assertNotIn("Not checked of serial", run.page)

    def test_a_finding_in_a_sound_policy_is_loud(self):
        content = fixture()
        content["fuzz"][0]["findings"] = ["C1 freed <twice>"]
        run = quick_run(content)
        self.assertEqual(run.status, 0)
        self.assertIn("C1 freed &lt;twice&gt;", run.page)
        self.assertIn("FOUND: policy_fuzzer, serial: C1 freed <twice>", run.printed)

    def test_each_section_may_be_missing_or_empty(self):
        for name in ("drain", "pause", "hiccup", "noise", "fuzz", "defects", "replay", "go", "timeline", "touched", "pairs",
                     "instructions"):
            with self.subTest(name):
                content = fixture()
                del content[name]
                run = quick_run(content)
                self.assertEqual(run.status, 0, run.errors)
                self.assertIn("Not in this run", run.page)

    def test_nothing_but_the_context(self):
        bare = {name: fixture()[name] for name in ("schema", "version", "context")}
        bare["context"] = {**bare["context"], "commit": ""}
        empty = bare | {"drain": [], "pause": [], "fuzz": [], "defects": [], "replay": [], "go": [],
                        "hiccup": {"latency": {"unit": "ns", "count": 0, "buckets": [], "max": 0}, "seconds": 0},
                        "noise": {"aa_ratio": [], "what": ""}}
        for content in (bare, empty):
            run = Run(content)
            self.assertEqual(run.status, 0, run.errors)
            self.assertIn("Nothing to draw", run.page)
            self.assertEqual(set(run.files), {"index.html"})

    def test_a_single_policy(self):
        content = fixture()
        for policy in ("immediate", "serial", "after-restart", "own-pool"):
            with self.subTest(policy):
                one = copy.deepcopy(content)
                for name in ("drain", "pause"):
                    rows = one[name] if policy != "own-pool" else [row | {"policy": policy} for row in one[name]]
                    one[name] = [row for row in rows if row["policy"] == policy]
                run = quick_run(one)
                self.assertEqual(run.status, 0, run.errors)
                self.assertIn("Not in this run", run.page)

    def test_interrupted_rows(self):
        content = fixture()
        content["drain"][0].update(pause_ns=[], after_ns=[], enqueue_ns=[], chase_ns=[])
        content["pause"][1].update(splits=[], stall_ns=[], drain_cpu_ns=[], drain_over_ns=[])
        self.assertEqual(quick_run(content).status, 0)


class ReachTest(unittest.TestCase):
    def test_the_worst_case_of_a_range_is_the_farthest_outside_of_it(self):
        """0.76 lies in 0.75 to 1.25, 1.30 does not, though it is nearer to 1."""
        cases = [reach.Case(str(value), stats.exactly(value, 1)) for value in (0.76, 1.30, 1.0)]
        row = reach.Row("", "", 0.75, 1.25, human.ratio, lambda results: cases)
        judged = reach.judge({}, row)
        self.assertEqual((judged.worst.where, judged.met, judged.verdict), ("1.3", 2, "not met"))
        cases = cases[::2]
        self.assertEqual(reach.judge({}, row).verdict, "met")

    """Every row of what was to be reached is met by the fixture; each test makes one figure bad, and one row says so."""

    @staticmethod
    def verdicts(content):
        return {(one.row.what, one.row.target): one.verdict for one in reach.judge_all(content)}

    def test_every_row_is_measured_and_met(self):
        found = self.verdicts(fixture())
        self.assertEqual(len({row.what for row in reach.ROWS}), len(reach.ROWS), "no two rows of one name")
        self.assertEqual({row: one for row, one in found.items() if not one or not one.startswith("met")}, {})

    def missed_by(self, change):
        content = fixture()
        change(content)
        found = self.verdicts(content)
        return [row[0] for row, verdict in found.items() if verdict and not verdict.startswith("met")]

    def drain_change(self, **wanted):
        figures = {name: wanted.pop(name) for name in list(wanted) if name.endswith("_ns") or name == "spans_released"}

        def change(content):
            rows = [row for row in content["drain"] if find.matches(row, wanted)]
            self.assertTrue(rows)
            for row in rows:
                for name, factor in figures.items():
                    row[name] = [value * factor for value in row[name]]
        return change

    def test_each_drain_row_can_miss(self):
        missed = self.missed_by
        self.assertEqual(missed(self.drain_change(policy="after-restart", cache="warm", pause_ns=10)),
                         ["hand-off: the pause's part"])
        self.assertEqual(missed(self.drain_change(policy="serial", stacks=102400, order="address", chase_ns=0.1)),
                         ["serial: against a pointer chase"])
        self.assertEqual(missed(self.drain_change(policy="sorted-batch", stacks=1048576, pause_ns=3)),
                         ["sorted-batch in the pause, from 1 Mi"])
        self.assertEqual(missed(self.drain_change(policy="sorted-batch", stack_bytes=2048, pause_ns=2)),
                         ["sorted-batch in the pause, 2 KiB from 4 Ki"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", cache="warm", stacks=102400, pause_ns=1000)),
                         ["bitmap in the pause, from 64 Ki, a stack"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", cache="cold", share="all", stacks=102400, pause_ns=450)),
                         ["bitmap in the pause, from 64 Ki, against serial"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", share="all", stacks=1024, cache="cold", enqueue_ns=2)),
                         ["enqueue, from 1 Ki"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", share="all", stacks=1024, cache="warm", release_ns=2)),
                         ["bitmap: release of an empty span, the pool warm"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", share="all", cache="cold", release_ns=3)),
                         ["bitmap: release of one empty span more, the pool cold"])
        self.assertEqual(missed(self.drain_change(policy="bitmap", share="half", stacks=1024, release_ns=9)),
                         ["bitmap: release where none is empty"])

    def test_the_slope_can_miss(self):
        def change(content):
            for row in find.hand_off_rows(content, cache="warm"):
                row["pause_ns"] = [40 + 0.00015 * row["stacks"] for _ in row["pause_ns"]]
        self.assertEqual(self.missed_by(change), [], "157 ns more at 1 Mi is a slope of 0.00015")

        def steep(content):
            for row in find.hand_off_rows(content, cache="warm"):
                row["pause_ns"] = [min(199, 0.01 * row["stacks"]) if row["stacks"] < 20000 else 199.0 for _ in row["pause_ns"]]
            content["drain"] = [row for row in content["drain"] if row["stacks"] < 20000 or row["policy"] != "after-restart"]
        self.assertEqual(self.missed_by(steep), ["hand-off: slope over n"])

    def test_each_row_after_the_restart_can_miss(self):
        def of(**figures):
            return lambda content: content["pause"][-1].update(figures)
        name = "bitmap after the restart, 256 Ki: "
        self.assertEqual(self.missed_by(of(latency=histogram((60, 900), (9000, 100)))), [name + "alloc+free p99"])
        self.assertEqual(self.missed_by(of(stall_ns=[2e5] * 3)), [name + "worst stall over the hiccups"])
        self.assertEqual(self.missed_by(of(drain_over_ns=[2e5] * 3)), [name + "drain over"])

    def test_touched_stacks_and_slow_pairs_are_missed(self):
        self.assertEqual(self.missed_by(lambda content: content["touched"][1].update(touched=1)), ["enqueue: stacks touched"])

        def slower(allocator, factor, **wanted):
            def change(content):
                for row in reach.pair_rows(content, allocator=allocator, **wanted):
                    row["pair_ns"] = [ns * factor for ns in row["pair_ns"]]
            return change
        self.assertEqual(self.missed_by(slower("tcmalloc", 0.1)), ["bitmap: the same against tcmalloc"])
        self.assertEqual(self.missed_by(slower("bitmap", 3, threads=2, pattern="lifo")),
                         ["bitmap: two threads, last or first in first out", "bitmap: two threads against one"])
        self.assertEqual(self.missed_by(slower("bitmap", 5, pattern="hot")),
                         ["bitmap: allocate and free, hot, one thread", "bitmap: the same against tcmalloc"])

    def test_outside_real_gos_range(self):
        def change(content):
            content["go_program"][0]["drain_ns"] = [ns * 8 for ns in content["go_program"][0]["drain_ns"]]
        there = "serial: outside real Go's range, of another machine"
        widened = "serial: the same, the range widened by the machines' speeds"
        self.assertEqual(self.missed_by(change), [there, widened])

        def here(factor, cycle_ns):
            def change(content):
                content["go_program"][0]["drain_ns"] = [ns * factor for ns in content["go_program"][0]["drain_ns"]]
                content["go_live"][-1] = go_live_row(cycle_ns)
            return change
        twice_as_fast, twice_as_slow = 236501993 / 2 * 1.024, 236501993 * 2 * 1.024
        self.assertEqual(self.missed_by(here(0.4, twice_as_fast)), [there], "cheaper than there, and so is Go")
        self.assertEqual(self.missed_by(here(0.4, twice_as_slow)), [there, widened])
        self.assertEqual(self.missed_by(here(2, twice_as_slow)), [there], "dearer than there, and so is Go")

    def test_the_two_machines_speeds_are_compared_at_equal_n(self):
        content = fixture()
        speed = reach.go_speed(content)
        self.assertEqual((speed.here["stacks"], speed.there["stacks"]), (102400, 100000))
        self.assertAlmostEqual(speed.ratio.mid, 2e8 / 102400 / (236501993 / 100000))
        del content["go_live"][-1]
        self.assertIsNone(reach.go_speed(content), "1,024 goroutines tell nothing")
        verdicts = {row[0]: verdict for row, verdict in self.verdicts(content).items()}
        self.assertIsNone(verdicts["serial: the same, the range widened by the machines' speeds"])

    def test_what_was_not_measured_has_no_verdict(self):
        content = fixture()
        del content["pairs"], content["touched"]
        found = self.verdicts(content)
        self.assertEqual(sum(verdict is None for verdict in found.values()), 6)
        self.assertIn("no verdict", quick_run(content).page)


class GraphTest(unittest.TestCase):
    def figure(self, name, content=None):
        """(what the graph's data are, its sentence)"""
        import drawing
        import graphs
        graph = next(one for one in graphs.GRAPHS if one.name == name)
        content = content or fixture()
        figure = graph.draw(content)
        self.addCleanup(drawing.pyplot.close, figure)
        return [tuple(row) for row in drawing.data_of(figure)], graph.sentence(content)

    def test_the_data_are_what_was_measured(self):
        data, _ = self.figure("pause")
        self.assertIn(("serial", "1048576", "125829120"), [row[1:] for row in data])
        self.assertIn(("bitmap", "1024", "30"), [row[1:] for row in data])

    def test_every_number_of_stacks_has_its_panel(self):
        for name in ("latency", "held", "pareto", "mmu", "pause-split"):
            panels = {row[0].split(":")[0] for row in self.figure(name)[0]}
            self.assertIn("1 Ki stacks of 8 KiB", panels, name)
            if name != "pareto":  # of the other there is one policy in the fixture
                self.assertIn("256 Ki stacks of 8 KiB", panels, name)
            self.assertIn("4 Ki stacks of 64 KiB", panels, name)

    def test_who_shrinks_large_stacks_in_place_is_in_the_graphs(self):
        for name in ("latency", "pareto", "mmu"):
            rows = self.figure(name)[0]
            self.assertIn("in-place", {row[1] for row in rows if row[0].startswith("4 Ki")}, name)
        for name, headline in (("pareto", "1 Ki stacks"), ("pause-split", "256 Ki stacks"), ("mmu", "256 Ki stacks")):
            self.assertIn(headline, self.figure(name)[1], "large ones are no headline")

    def test_utilisation(self):
        import graphs_cycle
        stalls = [(0.0, 100.0), (150.0, 50.0)]
        found = graphs_cycle.utilisation(stalls, 1000.0, [10.0, 100.0, 200.0, 400.0, 1000.0])
        self.assertEqual([round(float(value), 6) for value in found], [0, 0, 0.25, 0.625, 0.85])
        before = graphs_cycle.utilisation(stalls, 250.0, [500.0])
        self.assertAlmostEqual(float(before[0]), 0.7, msg="what is longer than the watch reaches back")

    def test_utilisation_is_what_trying_every_window_finds(self):
        import graphs_cycle
        chance = random.Random(3)
        for _ in range(20):
            edges = sorted(chance.sample(range(300), 12))
            stalls = [(begin, end - begin) for begin, end in zip(edges[::2], edges[1::2])]
            busy = [any(begin <= at < begin + length for begin, length in stalls) for at in range(300)]
            for window in (7, 40, 111):
                worst = max(sum(busy[at:at + window]) for at in range(300 - window + 1))
                self.assertAlmostEqual(float(graphs_cycle.utilisation(stalls, 300, [window])[0]), 1 - worst / window)

    def test_spans_freed_in_the_mark_are_told(self):
        import graphs_cycle
        rows = fixture()["timeline"]
        self.assertEqual([graphs_cycle.freed_in_mark(row) for row in rows], [1, 0])
        sentence = self.figure("timeline")[1]
        self.assertIn("immediate 1 of 3", sentence)
        self.assertIn("Under serial none", sentence)

    def test_free_is_bad_only_while_a_marker_may_point_there(self):
        import graphs_cycle
        control, serial = fixture()["timeline"]
        graced = dict(timeline_row("quiescent", control["states"]))
        self.assertEqual(graphs_cycle.letters(control), ["SSS", "SBS", "FFF", "FFR"])
        self.assertEqual(graphs_cycle.letters(graced), ["SSS", "SFS", "FFF", "FFR"])
        self.assertEqual(graphs_cycle.letters(serial), ["SSS", "SSS", "FFF", "FRF"])

    def test_more_pairs_resolve_more(self):
        import graphs_cost
        chance = random.Random(5)
        ratios = [chance.lognormvariate(0, 0.1) for _ in range(60)]
        self.assertGreater(graphs_cost.resolvable(ratios, 1), 2 * graphs_cost.resolvable(ratios, 50))
        self.assertEqual(graphs_cost.resolvable([1.0] * 9, 5), 0)

    def test_throughput_counts_all_threads(self):
        data, sentence = self.figure("throughput")
        self.assertIn(("hot", "bitmap", "1", "500000000"), data)
        self.assertIn(("hot", "tcmalloc", "2", "250000000"), data)
        self.assertIn("bitmap 2.00× as many as tcmalloc", sentence)

    def test_instructions_name_the_cheapest(self):
        sentence = self.figure("instructions")[1]
        self.assertRegex(sentence, r"serial executes 190 instructions .* bitmap 0.50 and")

    def test_policies_can_be_told_apart_in_the_pages_svg(self):
        page = Run(fixture()).page
        graph = page[page.index('id="graph-pause"'):page.index('id="graph-pareto"')]
        self.assertIn('data-series="after-restart, whole"', graph)


class RegimesTest(unittest.TestCase):
    @staticmethod
    def rows(*figures):
        """Rows of one shape: (policy, n, pause)."""
        return [drain_row(policy, "", stacks, pause) for policy, stacks, pause in figures]

    def stretches(self, *figures, resolution=0, share=0.0):
        found = regimes.stretches(self.rows(*figures), regimes.DRAIN_MEASURES[0], regimes.Floor(resolution, share))
        return [(one.stacks, one.winners) for one in found]

    def test_the_winner_changes_where_it_does(self):
        self.assertEqual(self.stretches(("a", 16, 10.0), ("b", 16, 20.0), ("a", 64, 50.0), ("b", 64, 80.0),
                                        ("a", 256, 900.0), ("b", 256, 90.0)), [(16, ("a",)), (256, ("b",))])

    def test_who_can_not_be_told_apart_shares(self):
        self.assertEqual(self.stretches(("a", 16, 100.0), ("b", 16, 101.0)), [(16, ("a", "b"))])
        self.assertEqual(self.stretches(("a", 16, 100.0), ("b", 16, 130.0)), [(16, ("a",))])
        self.assertEqual(self.stretches(("a", 16, 100.0), ("b", 16, 130.0), resolution=40), [(16, ("a", "b"))])
        self.assertEqual(self.stretches(("a", 16, 100.0), ("b", 16, 130.0), share=0.4), [(16, ("a", "b"))], "A/A differed by more")

    def test_few_samples_must_not_overlap(self):
        self.assertTrue(regimes.told_apart([1, 2, 3], [4, 5, 6], regimes.Floor(0)))
        self.assertFalse(regimes.told_apart([1, 2, 4.5], [4, 5, 6], regimes.Floor(0)))

    def test_who_was_not_measured_does_not_lose(self):
        self.assertEqual(self.stretches(("a", 16, 10.0), ("b", 16, 20.0), ("b", 64, 80.0)), [(16, ("a",))])

    def test_the_control_does_not_compete(self):
        page = quick_run(fixture()).page
        table = page[page.index('<section id="regimes">'):page.index('<section id="graphs">')]
        self.assertIn("bitmap", table)
        self.assertNotIn("immediate", table.replace("(immediate)", ""))

    def test_over_the_cheapest(self):
        content = fixture()
        content["drain"] = [drain_row(policy, "", stacks, each * stacks, after_ns=[0.0] * 7, enqueue_ns=[0.0] * 7)
                            for policy, each in (("serial", 100.0), ("bitmap", 25.0)) for stacks in (1024, 8192, 102400)]
        text = re.sub("<[^>]+>", " ", regimes.over_the_cheapest(content))
        self.assertRegex(text, r"serial\s+4\.00×\s+4\.00×\s+4\.00×\s+4\.00×\s+n\^1\.00")
        self.assertRegex(text, r"bitmap\s+1\.00×")

    def test_growth_finds_the_exponent(self):
        line = regimes.growth([(2**n, 3 * 2 ** (1.2 * n) * (1.01 if n % 2 else 0.99)) for n in range(10, 20)])
        self.assertAlmostEqual(line.slope, 1.2, places=2)
        self.assertLess(line.low, 1.2)
        self.assertGreater(line.high, 1.2)

    def test_one_number_of_stacks_tells_nothing_of_growth(self):
        self.assertIsNone(regimes.growth([(8192, 1e6 + 1000.0 * i) for i in range(11)]))

    def test_byte_seconds(self):
        self.assertEqual(find.held_byte_seconds({"held": [[0, 0], [1e9, 10], [3e9, 4], [4e9, 0]]}), 24)

    def test_front(self):
        import graphs
        def row(pause, stall):
            return {"splits": [{"drain_ns": pause}], "stall_ns": [stall]}
        fast, calm, beaten, noisy = row(1, 100), row(50, 10), row(60, 110), row(70, 4)
        self.assertEqual(graphs.front([fast, calm, beaten, noisy]), [fast, calm, noisy])
        self.assertEqual(graphs.front([fast, calm, beaten, noisy], noise=10), [fast, calm], "4 is no better than 10 is")


class WorkloadsTest(unittest.TestCase):
    @staticmethod
    def text(content=None):
        import workloads as section
        return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", section.workloads(content or fixture(), None)))

    def test_a_burst_is_told_a_stack(self):
        text = self.text()
        self.assertRegex(text, r"serial 1\.00 µs 100 ns .* 10 ns .* 16 / 16 1 MiB 2\.00×")

    def test_holes_and_room_for_copies(self):
        text = self.text()
        self.assertRegex(text, r"serial 4 MiB 6 MiB 6 MiB 6 MiB 1\.50× 1\.00×")
        self.assertRegex(text, r"in-place 4 MiB 4 MiB 8 MiB 6 MiB 1\.00× 1\.33×")

    def test_each_processors_cost_is_the_slope(self):
        self.assertRegex(self.text(), r"50\.0 ns 50\.0 – 50\.0")

    def test_both_speeds(self):
        self.assertRegex(self.text(), r"http serial 1\.00 µs 900 ns 30 ns 2\.0 s 1\.90 µs 60 ns 50 ns, 90 ns, 900 ns")

    def test_nothing_measured(self):
        self.assertIn("No workload", self.text({"context": {}, "drain": []}))

    def test_a_missing_guard_page_is_said(self):
        page = quick_run(fixture()).page
        self.assertRegex(re.sub("<[^>]+>", " ", page), r"boost-protected\s+32,743\s+then stacks come without their guard page")


class GoTableTest(unittest.TestCase):
    def rows(self, each):
        import targets
        content = fixture()
        content["go_program"] = [go_program_row("cold", each), go_program_row("as left", 20.0)]
        text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", targets._go_target(content)))
        return {(row.cache, row.go["tree"], row.go["gomaxprocs"]): row for row in targets.go_rows(content)}, text

    def test_equal_n_and_size_only(self):
        rows, text = self.rows(100.0)
        self.assertEqual(set(rows), {(cache, "seed", procs) for cache in ("cold", "as left") for procs in (1, 2)})
        self.assertEqual(rows["cold", "seed", 1].verdict, "met")
        self.assertIn("1 of 1 medians", text)

    def test_how_far_outside(self):
        rows, text = self.rows(269.2)
        self.assertEqual(rows["cold", "seed", 1].verdict, "not met")
        self.assertIn("2.00× above", text)
        self.assertIn("3.59× below", text)


class PublishTest(unittest.TestCase):
    def setUp(self):
        import publish
        self.module = publish
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root, self.report = Path(self.folder.name) / "root", Path(self.folder.name) / "report"
        self.module.published(self.root).mkdir(parents=True)
        self.report.mkdir()
        (self.module.published(self.root) / "old.png").write_bytes(b"old")
        (self.root / "README.md").write_text(f"before\n{publish.BEGIN}\nwas\n{publish.END}\nafter\n", encoding="utf-8")
        self.write(fixture())

    def write(self, results):
        (self.report / "results.json").write_text(json.dumps(results), encoding="utf-8")
        (self.report / "index.html").write_text('<a href="pause.svg">SVG</a>, <a href="pause.png">PNG</a>', encoding="utf-8")
        for kind in KINDS:
            (self.report / f"pause.{kind}").write_bytes(b"picture")

    def test_files_and_answer(self):
        names = self.module.publish(self.report, self.root)
        there = {path.name for path in self.module.published(self.root).iterdir()}
        self.assertEqual(there, {"index.html", "results.json", "pause.png", "pause.csv"})
        self.assertEqual(set(names), there)
        self.assertNotIn("svg", (self.module.published(self.root) / "index.html").read_text(encoding="utf-8"))
        text = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertRegex(text, r"1\. \*\*A tiny bit slower\?\*\* .* 123 µs at 1 Ki, 12\.3 ms at 100 Ki, 126 ms at 1 Mi stacks: 120 ns a stack")
        self.assertIn("`bitmap` adds 30 ns at 1 Mi stacks", text)
        self.assertIn("in its range at 1 of 1 equal n and sizes", text)
        self.assertNotIn("Not measured", text)
        self.assertEqual(self.module.problem(self.root), "")

    def test_a_figure_changed_by_hand_is_seen(self):
        self.module.publish(self.report, self.root)
        readme = self.root / "README.md"
        readme.write_text(readme.read_text(encoding="utf-8").replace("120 ns a stack", "110 ns a stack"), encoding="utf-8")
        self.assertIn("is not what", self.module.problem(self.root))
        self.module.refresh(self.root)
        self.assertEqual(self.module.problem(self.root), "")

    def refused(self, message):
        with self.assertRaisesRegex(self.module.CannotPublish, message):
            self.module.publish(self.report, self.root)
        self.assertTrue((self.module.published(self.root) / "old.png").exists(), "nothing is touched")

    def test_what_is_refused(self):
        dirty = fixture()
        dirty["context"]["commit"] += "-dirty"
        self.write(dirty)
        self.refused("uncommitted")
        self.write(fixture())
        (self.report / "huge.png").write_bytes(bytes(self.module.LARGEST))
        self.refused("too much to commit .* huge.png 16 MiB")
        (self.report / "huge.png").unlink()
        (self.root / "README.md").write_text("no marks", encoding="utf-8")
        self.refused("marks")
        (self.report / "index.html").unlink()
        self.refused("no report is there")


class CompareTest(unittest.TestCase):
    """Two runs made of noise; then one of them with one thing changed."""

    @staticmethod
    def run_of_noise(seed, samples=7):
        chance = random.Random(seed)

        def noisy(value, spread=0.06):
            return [value * chance.lognormvariate(0, spread) for _ in range(samples)]
        content = fixture()
        content["drain"] = [drain_row(policy, "", 2**n, 0, stack_bytes=size, pause_ns=noisy(100.0 * 2**n),
                                      after_ns=noisy(50.0 * 2**n), enqueue_ns=noisy(5.0 * 2**n), chase_ns=noisy(100.0 * 2**n))
                            for policy in "abc" for n in range(8, 20, 2) for size in (2048, 4096)]
        content["instructions"] = [{"policy": "a", "stack_bytes": 4096, "step": "retire", "instructions": 100.0,
                                    "d1_misses": 1.0, "ll_misses": 0.1}]
        return content

    @staticmethod
    def changes(old, new):
        return [(one.measure.name, one.name, one.change) for one in compare.compare(old, new) if one.change]

    def test_two_runs_of_one_thing_do_not_differ(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        found = compare.compare(old, new)
        self.assertGreater(len(found), 100)
        self.assertEqual([one for one in found if one.change], [])

    def test_a_made_up_regression_is_flagged_and_nothing_else(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        row = new["drain"][17]
        row["pause_ns"] = [ns * 1.6 for ns in row["pause_ns"]]
        self.assertEqual([(name, way) for name, _, way in self.changes(old, new)], [("pause_ns", "worse")])
        self.assertEqual([(name, way) for name, _, way in self.changes(new, old)], [("pause_ns", "better")])

    def test_a_slower_machine_is_no_regression(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        for row in new["drain"]:
            for name in ("pause_ns", "chase_ns"):
                row[name] = [ns * 1.5 for ns in row[name]]
        self.assertEqual(self.changes(old, new), [])

    def test_few_samples_must_be_apart(self):
        for samples, told in ((5, ["worse"]), (4, []), (1, [])):  # of four chance alone does it in 3 of 100
            old, new = self.run_of_noise(1, samples=samples), self.run_of_noise(2, samples=samples)
            self.assertEqual(self.changes(old, new), [])
            new["drain"][5]["after_ns"] = [ns * 2 for ns in new["drain"][5]["after_ns"]]
            self.assertEqual([way for *_, way in self.changes(old, new)], told)

    def test_what_was_nothing_before_is_infinitely_more(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        old["pause"][2]["drain_over_ns"], new["pause"][2]["drain_over_ns"] = [0.0] * 7, [5e6] * 7
        found = compare.compare(old, new)
        self.assertIn("\N{INFINITY}", compare.text(found, (0, 0)))
        one = next(row for row in compare.as_json(found) if row["measure"] == "drain_over_ns" and row["change"])
        self.assertIsNone(one["ratio"])
        json.dumps(compare.as_json(found), allow_nan=False)

    def test_a_tick_of_the_clock_is_no_regression(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        old["drain"][0]["pause_ns"], new["drain"][0]["pause_ns"] = [20.0] * 7, [40.0] * 7
        self.assertEqual(self.changes(old, new), [])

    def test_a_stall_of_the_machine_is_no_regression(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        old["pause"][2]["stall_ns"], new["pause"][2]["stall_ns"] = [1e4] * 7, [3.9e4] * 7
        self.assertEqual(self.changes(old, new), [])
        new["pause"][2]["stall_ns"] = [5e5] * 7
        self.assertEqual([name for name, *_ in self.changes(old, new)], ["stall_ns"])

    def test_counted_instructions_have_no_noise(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        new["instructions"][0]["instructions"] = 103.0
        self.assertEqual(self.changes(old, new), [("instructions", "a 4 KiB retire", "worse")])

    def run_main(self, *contents, flags=()):
        out, errors = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for index, content in enumerate(contents):
                paths.append(Path(folder) / f"{index}.json")
                paths[-1].write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                status = compare.main([*map(str, paths), *flags])
        return status, out.getvalue(), errors.getvalue()

    def test_exit_codes(self):
        old, new = self.run_of_noise(1), self.run_of_noise(2)
        status, out, _ = self.run_main(old, new)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"0 worse, 0 better")
        new["drain"][17]["after_ns"] = [ns * 3 for ns in new["drain"][17]["after_ns"]]
        status, out, _ = self.run_main(old, new)
        self.assertEqual(status, 1)
        self.assertRegex(out, r"worse +after_ns +b .*[23]\.\d+×")
        self.assertEqual(self.run_main(new, old)[0], 0, "faster is fine")
        self.assertEqual(self.run_main(old, new, flags=["--threshold", "400"])[0], 0, "three times as long is within it")
        status, out, _ = self.run_main(old, new, flags=["--json"])
        self.assertEqual((status, sum(one["change"] == "worse" for one in json.loads(out))), (1, 1))

    def test_bad_input(self):
        status, out, errors = self.run_main(fixture(), "{")
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(errors, r"^compare: \S+1\.json: not JSON: ")
        self.assertEqual(self.run_main(fixture(), fixture(), flags=["--threshold", "0"])[0], 2)
        bare = {name: fixture()[name] for name in ("schema", "version", "context")}
        self.assertEqual(self.run_main(fixture(), bare)[0], 2)


class BadFileTest(unittest.TestCase):
    def expect(self, content, message):
        run = Run(content)
        self.assertEqual(run.status, 2)
        self.assertEqual(run.files, {})
        self.assertEqual(run.errors, f"generate.py: results.json: {message}\n")

    def test_wrong_type(self):
        content = fixture()
        content["drain"][3]["pause_ns"] = "fast"
        self.expect(content, 'drain[3].pause_ns: must be an array, is "fast"')

    def test_not_json(self):
        self.expect("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")
        self.expect('{"version": NaN}', "not JSON: NaN is no number in JSON")

    def test_another_file(self):
        self.expect("[]", "top level: must be an object, is an array")

    def test_no_file(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            status = generate.main([str(HERE / "no-such.json"), "--out", str(HERE / "never-made")])
        self.assertEqual(status, 2)
        self.assertEqual(errors.getvalue(), "generate.py: no-such.json: cannot be read: No such file or directory\n")


class ColourTest(unittest.TestCase):
    @staticmethod
    def luminance(colour):
        parts = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055)**2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def test_no_two_policies_look_alike(self):
        import drawing
        styles = drawing.styles_of(range(24)).values()
        self.assertEqual(len({(style.colour, style.marker) for style in styles}), 24, "points have no dash")

    def test_every_colour_is_readable_on_both_grounds(self):
        import drawing
        for colour in drawing.PALETTE:
            for ground in drawing.GROUND.values():
                light, dark = sorted((self.luminance(colour), self.luminance(ground)), reverse=True)
                self.assertGreaterEqual((light + 0.05) / (dark + 0.05), 3, f"{colour} on {ground}")


if __name__ == "__main__":
    unittest.main()
