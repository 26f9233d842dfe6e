"""Tests of options of the `stackdrain` command that nothing else uses: what a user would notice if one did nothing.

What is quick is run; what builds or measures for minutes is replaced by what notes how it was asked.
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
import types
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import the_command  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RACE = "corpus/policy_fuzzer/seed-race.ops"
SCHEDULE = "corpus/schedule_fuzzer/seed-race.bin"


COMMAND = the_command.load()


def run(*arguments):
    return subprocess.run([ROOT / "stackdrain", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def options_of(*arguments):
    options = COMMAND.parser().parse_args([str(argument) for argument in arguments])
    options.rest = []
    return options


class Asked(Exception):
    """Ends a verb where what is of interest was asked."""


class Replaced(unittest.TestCase):
    """Nothing is installed or built."""

    def setUp(self):
        self.installed = self.replace("install")
        self.replace("build", return_value=Path("/built"))
        self.replace("fuzz_builds")
        self.replace("policy_rows", side_effect=lambda which: ["serial", "bitmap"] if which in ("all", "sound") else [which])
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def replace(self, name, **how):
        patch = mock.patch.object(COMMAND, name, **how)
        self.addCleanup(patch.stop)
        return patch.start()

    def verb(self, *arguments):
        """Its exit code, and what it printed."""
        options = options_of(*arguments)
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
            return options.function(options), said.getvalue()


class Report(Replaced):
    def asked(self, *arguments):
        """(policies, minutes, groups of packages) of a report that ends where it would measure."""
        with mock.patch.object(COMMAND, "measure", side_effect=Asked) as measure, self.assertRaises(Asked):
            self.verb("report", "--out", self.folder, *arguments)
        _, policies, schedule, _ = measure.call_args.args
        return policies, schedule.minutes, self.installed.call_args.args[0]

    def test_what_is_measured_and_for_how_long(self):
        policies, minutes, groups = self.asked()
        self.assertEqual((policies, minutes), (["serial", "bitmap"], COMMAND.MINUTES["usual"]))
        self.assertNotIn("go", groups)
        self.assertEqual(self.asked("--quick")[1], COMMAND.MINUTES["quick"])
        self.assertEqual(self.asked("--full")[1], COMMAND.MINUTES["full"])
        self.assertEqual(self.asked("--full", "--minutes", "7.5")[1], 7.5)
        self.assertEqual(self.asked("--policies", "quiescent,serial")[0], ["quiescent", "serial"])
        self.assertIn("go", self.asked("--with-go")[2])

    def test_what_excludes_each_other_or_is_not_there(self):
        for arguments, word in ((["--quick", "--full"], "exclude each other"), (["--minutes", "1"], "1.5 or more"),
                                (["--compare-with", "none.json"], "none.json is not there")):
            with self.assertRaisesRegex(COMMAND.BadInput, word):
                self.verb("report", *arguments)

    def publishing(self):
        module = types.SimpleNamespace(publish=mock.Mock(return_value=["index.html"]), refresh=mock.Mock(),
                                       CannotPublish=type("CannotPublish", (Exception,), {}),
                                       schema=types.SimpleNamespace(BadResults=type("BadResults", (Exception,), {})))
        self.replace("publishing", return_value=module)
        return module

    def test_publish_and_again(self):
        module = self.publishing()
        page = self.replace("make_page", return_value=(0, {}))
        earlier = self.folder / "earlier.json"
        earlier.write_text("{}", encoding="utf-8")
        code, said = self.verb("report", "--again", earlier, "--out", self.folder / "new", "--publish")
        self.assertEqual(code, 0)
        module.publish.assert_called_once_with(self.folder / "new", ROOT)
        self.assertEqual(page.call_args.args[2], earlier)
        self.assertEqual((self.folder / "new/results.json").read_text(encoding="utf-8"), "{}")
        self.assertIn("published in reports/published: index.html", said)
        module.publish.side_effect = module.CannotPublish("it is dirty")
        with self.assertRaisesRegex(COMMAND.BadInput, "--publish: it is dirty"):
            self.verb("report", "--again", earlier, "--out", self.folder / "new", "--publish")

    def test_refresh_alone_measures_nothing(self):
        module = self.publishing()
        self.assertEqual(self.verb("report", "--refresh-readme"), (0, ""))
        module.refresh.assert_called_once_with(ROOT)
        self.installed.assert_not_called()

    def test_the_page_is_told_its_title_and_the_earlier_run(self):
        with mock.patch.object(COMMAND.subprocess, "run", return_value=mock.Mock(returncode=0)) as ran:
            COMMAND.make_page(options_of("report", "--title", "T", "--compare-with", "old.json"), "out", "results.json")
            self.assertLessEqual({"--title=T", "--compare-with=old.json"}, set(ran.call_args.args[0]))


class Test(Replaced):
    def names(self, *arguments):
        with mock.patch.object(COMMAND.Checks, "run") as checks:
            self.verb("test", *arguments)
        return [call.args[0] for call in checks.call_args_list]

    def test_fast_leaves_out_what_takes_minutes_and_its_packages(self):
        every = self.names()
        self.assertIn("afl", self.installed.call_args.args[0])
        fast = self.names("--fast")
        self.assertFalse({"afl", "go", "browser"} & set(self.installed.call_args.args[0]))
        self.assertEqual(fast, [name for name in every if name in fast])
        self.assertIn("format", fast)
        self.assertEqual({"clang-tidy", "unit tests: clang, TSan"} & set(fast), set())
        self.assertLessEqual({"clang-tidy", "unit tests: clang, TSan"}, set(every))

    def checks(self):
        """Each replaced by one that passes, by its function's name."""
        self.replace("output_of", return_value="")
        return {name: self.replace(name, return_value="") for name in vars(COMMAND) if name.startswith("check_") and name != "check_writable"}

    def test_only(self):
        checks = self.checks()
        code, said = self.verb("test", "--only", "format", "--only", "documents")
        self.assertEqual({name for name, check in checks.items() if check.called}, {"check_format", "check_docs"})
        self.assertEqual((code, said.splitlines()[-1]), (0, "2 passed, 0 failed"))
        self.assertEqual(self.verb("test", "--only", "no check has this")[0], 1)

    def test_a_check_that_fails_is_told_as_json_too(self):
        self.checks()["check_format"].return_value = "x.cc is not formatted"
        code, said = self.verb("test", "--only", "format", "--json")
        row = json.loads(said)
        self.assertEqual((code, row["name"], row["verdict"], row["said"]), (1, "format", "failed", "x.cc is not formatted"))


class Fuzz(Replaced):
    """What the engines are told; a run is in Runs."""

    def run_of(self, *arguments):
        made = self.replace("FuzzRun", side_effect=Asked)
        self.replace("tool", return_value="true")
        with self.assertRaises(Asked):
            self.verb("fuzz", "policy_fuzzer", *arguments)
        return made.call_args.args

    def test_each_option_reaches_the_run(self):
        (self.folder / "mine").write_bytes(b"\0\0")
        fuzzer, policy, defect, engine, seconds, jobs, seed, seeds, out, keep_going = self.run_of(
            "--policy", "bitmap", "--engine", "afl", "--for", "2m", "--jobs", "3", "--seed", "7", "--corpus", self.folder, "--out", self.folder / "out",
            "--keep-going")
        self.assertEqual((fuzzer, policy, defect, engine, seconds, jobs, seed, keep_going), ("policy_fuzzer", "bitmap", None, "afl", 120, 3, 7, True))
        self.assertEqual((seeds, out), ([self.folder / "mine"], (self.folder / "out/policy_fuzzer-bitmap").resolve()))
        self.assertIn("afl", self.installed.call_args.args[0])

    def test_an_empty_corpus_and_the_committed_one(self):
        self.assertEqual(self.run_of("--empty-corpus")[7], [])
        self.assertIn(ROOT / RACE, self.run_of()[7])

    def command(self, engine, job, **more):
        made = COMMAND.FuzzRun("policy_fuzzer", "serial", "Q7", engine, 60, 2, 5, [], self.folder, **more)
        return made, [str(word) for word in (made._libfuzzer(job) if engine == "libfuzzer" else made._afl(job))]

    def test_what_libfuzzer_is_told(self):
        made, words = self.command("libfuzzer", 1)
        self.assertLessEqual({"-seed=6", "-max_total_time=60"}, set(words))
        self.assertFalse([word for word in words if word.startswith("-fork")])
        self.assertEqual([made._environment()[name] for name in ("STACKDRAIN_POLICY", "STACKDRAIN_DEFECT")], ["serial", "Q7"])
        self.assertLessEqual({"-fork=2", "-ignore_crashes=1"}, set(self.command("libfuzzer", 0, keep_going=True)[1]))

    def test_what_afl_is_told(self):
        for job, role in enumerate(("-M", "-S")):
            words = self.command("afl", job)[1]
            self.assertEqual((words[0], words[words.index("-s") + 1], words[words.index(role) + 1]), ("afl-fuzz", str(5 + job), f"job{job}"))

    def test_no_jobs_make_no_sense(self):
        with self.assertRaisesRegex(COMMAND.BadInput, "--jobs"):
            self.verb("fuzz", "policy_fuzzer", "--jobs", "0")
        with self.assertRaisesRegex(COMMAND.BadInput, "--jobs"):
            self.verb("defects", "--jobs", "0")


class Defects(Replaced):
    ROW = {"defect": "lost", "policy": "serial", "engine": "libfuzzer", "corpus": "empty", "seed": 1, "limit": 10.0, "reported": True, "by": "A3",
           "explained": "A3", "right": True, "executions": 1000, "seconds": 1.0, "reached_executions": 5, "reached_seconds": 0.01}

    def test_each_option_reaches_the_trials(self):
        trials = self.replace("defect_trials", return_value=[self.ROW])
        self.verb("defects", "--only", "Q7", "--only", "Q1", "--trials", "2", "--for", "5s", "--empty-corpus", "--plain", "--jobs", "4", "--fuzzer",
                  "schedule_fuzzer", "--policy", "serial")
        self.assertEqual(trials.call_args, mock.call(["Q7", "Q1"], 2, 5.0, True, True, 4, "libfuzzer", "schedule_fuzzer", policy="serial"))
        self.verb("defects", "--engine", "afl")
        self.assertEqual(trials.call_args.args[6], "afl")

    def test_each_option_reaches_the_scoreboard(self):
        board = COMMAND.scoreboard()
        defects = [board.Defect(name, frozenset(), "serial") for name in ("Q1", "Q7")]
        self.replace("tool", return_value="tool")
        self.replace("list_rows", return_value=[{"name": "Q1"}, {"name": "Q7"}])
        with mock.patch.object(board, "defects_of", return_value=defects) as known, mock.patch.object(board, "run", return_value=[]) as ran:
            COMMAND.defect_trials(["Q7"], 2, 5.0, True, True, 4, "libfuzzer", "schedule_fuzzer", policy="serial")
        self.assertEqual(known.call_args.args[2], "serial")
        setup, chosen, trials, jobs, _, _ = ran.call_args.args
        self.assertEqual((setup.plain, setup.harness, setup.seconds, setup.seeds), (True, "schedule_fuzzer", 5.0, None))
        self.assertEqual((chosen, trials, jobs), (defects[1:], 2, 4))

    def test_out_and_compare(self):
        self.replace("defect_trials", return_value=[self.ROW])
        out = self.folder / "new.json"
        self.assertEqual(self.verb("defects", "--out", out)[0], 0)
        self.assertEqual(json.loads(out.read_text(encoding="utf-8"))["defects"], [self.ROW])
        self.assertNotIn("then: libfuzzer; now: libfuzzer", self.verb("defects")[1])
        self.assertIn("then: libfuzzer; now: libfuzzer", self.verb("defects", "--compare", out)[1])


class Others(Replaced):
    def test_mutants_only_and_seed(self):
        def chosen(*arguments):
            with mock.patch.object(COMMAND, "mutant_fates", side_effect=Asked) as fates, self.assertRaises(Asked):
                self.verb("mutants", *arguments)
            return fates.call_args.args
        mutants, seconds = chosen("--only", "grace.h", "--for", "3s")
        self.assertEqual({mutant.file for mutant in mutants}, {"target/grace.h"})
        self.assertEqual(seconds, 3)
        first = chosen("--sample", "5")[0]
        self.assertEqual((len(first), chosen("--sample", "5", "--seed", "1")[0]), (5, first))
        self.assertNotEqual(chosen("--sample", "5", "--seed", "2")[0], first)
        with self.assertRaisesRegex(COMMAND.BadInput, "no mutant's name"):
            self.verb("mutants", "--only", "no file is called so")

    def test_stress_is_told_cycles_and_seed(self):
        with mock.patch.object(COMMAND.subprocess, "run", return_value=mock.Mock(returncode=0, stdout="well\n")) as ran:
            code, said = self.verb("stress", "--policy", "bitmap", "--cycles", "9", "--seed", "4", "--json")
        self.assertEqual({tuple(call.args[0][1:]) for call in ran.call_args_list}, {("bitmap", "9", "4")})
        rows = [json.loads(line) for line in said.splitlines()]
        self.assertEqual(({row["program"] for row in rows}, code), ({"pool_stress", "goroutine_stress"}, 0))

    def test_one_stress_that_fails_is_enough(self):
        with mock.patch.object(COMMAND.subprocess, "run", side_effect=[mock.Mock(returncode=code) for code in (0, 1)]):
            self.assertEqual(self.verb("stress", "--policy", "bitmap")[0], 1)

    def test_coverage_goes_where_it_is_told(self):
        coverage = mock.Mock(as_json=mock.Mock(return_value={"totals": {}}), problems=mock.Mock(return_value=[]))
        reports = self.replace("coverage_reports", return_value=(coverage, None))
        self.assertEqual(self.verb("coverage", "--out", self.folder, "--json"), (0, '{"totals": {}}\n'))
        self.assertEqual(reports.call_args.args[0], self.folder.resolve())

    def test_compare_is_told_its_threshold(self):
        with mock.patch.object(COMMAND.subprocess, "run", return_value=mock.Mock(returncode=1)) as ran:
            self.assertEqual(self.verb("compare", "a.json", "b.json", "--threshold", "25")[0], 1)
        self.assertIn("--threshold=25.0", ran.call_args.args[0])


class Bench(Replaced):
    def test_policies_are_a_filter_and_out_a_file_for_each(self):
        ran = self.replace("run_benchmark", return_value=0)
        self.replace("has_benchmarks", side_effect=lambda program, _: program.name != "stack_benchmark")
        self.verb("bench", "drain_benchmark", "--policy", "serial", "--policy", "bitmap", "--out", "build/x.json")
        self.assertEqual(ran.call_args.args, (Path("/built/benchmarks/drain_benchmark"), ["--benchmark_filter=serial|bitmap"], Path("build/x.json"), False))
        self.verb("bench", "drain_benchmark", "pause_benchmark", "--policy", "serial", "--out", "build/x.json")
        self.assertEqual([call.args[2].name for call in ran.call_args_list[1:]], ["x-drain_benchmark.json", "x-pause_benchmark.json"])

    def test_what_a_benchmark_writes_is_what_it_prints_as_json(self):
        program = self.folder / "a_benchmark"
        program.write_text('#!/bin/sh\nfor a; do case $a in --benchmark_out=*) echo "{\\"context\\": {}}" > "${a#*=}" ;; esac; done\necho a table\n',
                           encoding="utf-8")
        program.chmod(0o755)
        kept = self.folder / "kept.json"
        script = ("import sys; from pathlib import Path; sys.dont_write_bytecode = True\n"
                  f"sys.path.insert(0, {str(ROOT / 'fuzz')!r}); import the_command; command = the_command.load()\n"
                  f"command.run_benchmark(Path({str(program)!r}), [], Path({str(kept)!r}), True)")
        ran = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual((json.loads(ran.stdout), ran.stderr), ({"benchmark": "a_benchmark", "context": {}}, "a table\n"))
        self.assertEqual(json.loads(kept.read_text(encoding="utf-8")), {"context": {}})

    def test_instructions_against_the_record(self):
        record = self.folder / "record.json"
        self.replace("INSTRUCTIONS", new=record)
        counts = self.replace("all_instructions", return_value={"serial": {"4096": {"drain": 100.0}}})
        with self.assertRaisesRegex(COMMAND.BadInput, "--record records instruction counts"):
            self.verb("bench", "--record")
        self.assertEqual(self.verb("bench", "--instructions", "--record")[0], 0)
        self.assertEqual(json.loads(record.read_text(encoding="utf-8")), counts.return_value)
        self.assertEqual(self.verb("bench", "--instructions")[0], 0)
        for changed, word in (({"drain": 97.0}, "97.0 instructions a stack, recorded 100.0"), ({}, "not instructions a stack, recorded 100.0"),
                              ({"drain": 100.0, "pair": 1.0}, "1.0 instructions a stack, recorded not")):
            counts.return_value = {"serial": {"4096": changed}}
            code, said = self.verb("bench", "--instructions", "--json")
            off = json.loads(said)["off"]
            self.assertEqual((code, len(off)), (1, 1))
            self.assertIn(word, off[0])
        counts.return_value = {"serial": {"4096": {"drain": 101.9}}}
        self.assertEqual(self.verb("bench", "--instructions")[0], 0)


class Runs(unittest.TestCase):
    """Of the command itself."""

    def test_replay_by_preset(self):
        """The model of today's Go decides as Go 1.19 did under its preset, and otherwise under that of 2014."""
        errors = {}
        for preset in ("go1.19", "seed"):
            row = json.loads(run("replay", "corpus/traces/json.csv.zst", "--policy", "span-after-restart", "--preset", preset, "--json").stdout)
            self.assertEqual(row["preset"], preset)
            errors[preset] = row["fidelity"]["spans_mean_abs_error"]
        self.assertEqual(errors["go1.19"], 0)
        self.assertGreater(errors["seed"], 0)

    def test_replay_a_row_for_every_cycle(self):
        replay = ["replay", "corpus/traces/gobuild.csv.zst", "--policy", "serial"]
        def cycles(*more):
            return [int(words[0]) for words in map(str.split, run(*replay, *more).stdout.splitlines()) if words and words[0].isdigit()]
        every = cycles("--all-cycles")
        self.assertEqual(every, list(range(1, 53)))
        self.assertLess(len(cycles()), 30)

    def test_replay_at_recorded_speed(self):
        with tempfile.TemporaryDirectory() as folder:
            short = Path(folder, "short.csv")
            short.write_text("dns,k,p,g,addr,a,b,c\n0,P,0,0,c000040000,32768,2048,\n1,A,0,0,c000040000,2048,,\n3000000000,F,0,0,c000040000,2048,,\n",
                             encoding="utf-8")
            replay = ["replay", short, "corpus/traces/gobuild.csv.zst", "--policy", "serial", "--recorded", "4"]
            begun = time.monotonic()
            rows = [json.loads(line) for line in run(*replay, "--json").stdout.splitlines()]
            self.assertGreaterEqual(time.monotonic() - begun, 3)
            self.assertEqual([(row["trace"], row["speed"]) for row in rows], [("short", "recorded")])
            self.assertIn("call_ns", rows[0])
            self.assertIn("gobuild: left out, it took 46.6 s to record", run(*replay).stdout)
        refused = run("replay", "corpus/traces/gobuild.csv.zst", "--recorded", "0")
        self.assertEqual((refused.returncode, "--recorded wants seconds" in refused.stderr), (2, True))

    def test_explore_for_so_long(self):
        row = json.loads(run("explore", "--policy", "serial", "--world", "stopped", "--depth", "30", "--for", "0.3s", "--memory", "50", "--json").stdout)
        self.assertEqual(row["end"], "time")

    def test_list_as_a_page(self):
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder, "page.md")
            self.assertEqual(run("list", "--markdown", "--out", page).returncode, 0)
            whole = page.read_text(encoding="utf-8")
        self.assertEqual(whole, (ROOT / "fuzz/REFERENCE.md").read_text(encoding="utf-8"))
        one = run("list", "faults", "--markdown").stdout
        self.assertIn("| `died` |", one)
        self.assertIn(one, whole)
        self.assertLess(len(one), len(whole) / 2)
        self.assertEqual(run("list", "faults", "--out", "x").returncode, 2)

    def test_a_schedule_minimised_drawn_and_run_again(self):
        with tempfile.TemporaryDirectory() as folder:
            small, page = Path(folder, "small.ops"), Path(folder, "page.html")
            ran = run("schedule", SCHEDULE, "--policy", "immediate", "--minimize-to", small, "--html", page, "--json")
            first = json.loads(ran.stdout)
            self.assertEqual((ran.returncode, first["invariant"], first["minimized_from"]), (1, "A3", 6))
            self.assertLess(first["operations"], 6)
            self.assertEqual(small.read_text(encoding="utf-8").splitlines(), first["program"])
            self.assertIn("<svg", page.read_text(encoding="utf-8"))
            again = json.loads(run("schedule", small, "--policy", "immediate", "--json").stdout)
            self.assertEqual({**again, "input": "", "minimized_from": 6}, {**first, "input": ""})

    def test_a_schedule_with_a_defect(self):
        schedule = ["schedule", "corpus/policy_fuzzer/defect-immediate-free.ops", "--policy", "serial"]
        self.assertEqual(run(*schedule).returncode, 0)
        ran = run(*schedule, "--defect", "immediate-free", "--json")
        self.assertEqual((ran.returncode, json.loads(ran.stdout)["defect"]), (1, "immediate-free"))

    def test_ops_check_as_json(self):
        row = json.loads(run("ops", "check", RACE, "--json").stdout)
        self.assertEqual((row["input"], row["bytes"]), (RACE, 2 * row["operations"]))
        refused = run("ops", "encode", RACE, "--json")
        self.assertEqual((refused.returncode, refused.stdout), (2, ""))

    def test_two_jobs_find_what_is_there_and_say_how_to_see_it_again(self):
        with tempfile.TemporaryDirectory() as folder:
            ran = run("fuzz", "policy_fuzzer", "--policy", "serial", "--defect", "immediate-free", "--empty-corpus", "--for", "60s", "--jobs", "2", "--seed", "7",
                      "--out", folder)
            out = Path(folder, "policy_fuzzer-serial-immediate-free")
            logs = [(out / f"log-{job}.txt").read_text(encoding="utf-8", errors="replace") for job in (0, 1)]
            self.assertEqual([f"INFO: Seed: {7 + job}\n" in log for job, log in enumerate(logs)], [True, True])
            self.assertTrue(list((out / "findings").iterdir()))
            again = [line.split("./stackdrain ", 1)[1].split() for line in ran.stdout.splitlines() if line.startswith("reproduce: ")]
            self.assertEqual((ran.returncode, run(*again[0]).returncode), (1, 1))

    def test_a_corpus_of_ones_own_and_going_on_behind_a_finding(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "mine.ops").write_text((ROOT / RACE).read_text(encoding="utf-8"), encoding="utf-8")
            ran = run("fuzz", "policy_fuzzer", "--policy", "immediate", "--corpus", folder, "--for", "6s", "--keep-going", "--out", Path(folder, "out"), "--json")
            row = json.loads(ran.stdout)
            seeds = list(Path(folder, "out/policy_fuzzer-immediate/seeds").iterdir())
        self.assertEqual((ran.returncode, [seed.name for seed in seeds]), (1, ["mine"]))
        self.assertGreaterEqual(row["seconds"], 6)
        self.assertGreaterEqual(sum(row["signatures"].values()), 1)


if __name__ == "__main__":
    unittest.main()
