"""Tests of the `stackdrain` command: bad usage and bad input get one line and exit code 2, and nothing is half written."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RACE = "corpus/policy_fuzzer/seed-race.ops"
SCHEDULE = "corpus/schedule_fuzzer/seed-race.bin"
TRACE = "corpus/traces/gobuild.csv.zst"


def run(*arguments, stdout=subprocess.PIPE, umask=-1):
    return subprocess.run([ROOT / "stackdrain", *arguments], cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
                          umask=umask)


class BadInput(unittest.TestCase):
    def refused(self, arguments, *words, stdout=subprocess.PIPE):
        result = run(*arguments, stdout=stdout)
        self.assertEqual(result.returncode, 2, f"{arguments}: {result.stdout}{result.stderr}")
        lines = [line for line in result.stderr.splitlines() if not line.startswith("building ")]
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith("stackdrain: "), lines[0])
        for word in words:
            self.assertIn(word, lines[0])
        return lines[0]

    def test_usage(self):
        self.refused([], "VERB")
        self.refused(["frobnicate"], "invalid choice")
        self.refused(["run"], "PROGRAM", "run --help")
        self.refused(["run", RACE, "--polcy", "serial"], "--polcy")
        self.refused(["fuzz", "--for", "soon"], "'soon' is no time")
        self.refused(["fuzz", "other_fuzzer"], "unknown fuzzer 'other_fuzzer'", "list fuzzers")
        self.refused(["bench", "other_benchmark"], "unknown benchmark", "list benchmarks")
        self.refused(["list", "everything"], "invalid choice")
        self.refused(["run", RACE, "--", "-x"], "only bench")
        self.refused(["bench", "--fuzzing", "--policy", "serial"], "--fuzzing measures all", "--policy")
        self.refused(["bench", "--instructions", "--out", "build/x.json"], "--instructions measures all", "--out")
        self.refused(["bench", "--pairs", "stack_benchmark"], "--pairs measures all")
        self.refused(["explore", "--depth", "0"], "--depth")
        self.refused(["explore", "--memory", "0"], "--memory")
        self.refused(["explore", "--depth", "many"], "'many'")
        self.refused(["explore", "serial"], "serial")
        self.refused(["coverage", "target"], "target")

    def test_unknown_names(self):
        self.refused(["run", RACE, "--policy", "seriel"], "unknown policy 'seriel'", "did you mean 'serial'")
        self.refused(["run", RACE, "--defect", "Q99x"], "unknown defect 'Q99x'")
        self.refused(["replay", TRACE, "--policy", "nothing-like-it"], "unknown policy", "serial")
        self.refused(["replay", TRACE, "--preset", "go9"], "unknown preset 'go9'", "seed")
        self.refused(["fuzz", "--policy", "seriel"], "unknown policy 'seriel'")
        self.refused(["report", "--policies", "seriel"], "unknown policy 'seriel'")
        self.refused(["explore", "--world", "nowhere"], "unknown world 'nowhere'", "stopped")
        self.refused(["explore", "--policy", "seriel"], "unknown policy 'seriel'")
        self.refused(["explore", "--defect", "Q99x"], "unknown defect 'Q99x'")

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            typo = Path(folder, "typo.ops")
            typo.write_text("spawn g0 2K\nspwan g1 2K\n", encoding="utf-8")
            for verb in (["run", typo], ["ops", "check", typo], ["explain", typo]):
                self.refused(verb, f"{typo}:2:", "spwan", "spawn")
            self.refused(["run", Path(folder, "missing.ops")], "missing.ops", "No such file")
            self.refused(["run", folder], "is a directory")
            unreadable = Path(folder, "unreadable.ops")
            unreadable.write_text("nop\n", encoding="utf-8")
            unreadable.chmod(0)
            if os.geteuid() != 0:  # root reads everything
                self.refused(["run", unreadable], "Permission denied")
            self.refused(["fuzz", "--corpus", Path(folder, "none")], "is no folder")

    def test_names_that_no_file_has(self):
        with tempfile.TemporaryDirectory() as folder:
            loop = Path(folder, "loop.ops")
            loop.symlink_to(loop)
            long = Path(folder, "x" * 300)
            self.refused(["run", loop], "loop.ops: cannot be read", "symbolic links")
            self.refused(["run", long], "cannot be read", "too long")
            encode = ["ops", "encode", RACE, "--out"]
            self.refused([*encode, loop], "loop.ops: cannot be written", "symbolic links")
            self.refused([*encode, long], "cannot be written", "too long")
            self.refused([*encode, folder], f"{folder}: is a directory")
            self.assertEqual(os.listdir(folder), ["loop.ops"])

    def test_damaged_traces(self):
        with tempfile.TemporaryDirectory() as folder:
            whole = (ROOT / TRACE).read_bytes()
            cut = Path(folder, "cut.csv.zst")
            cut.write_bytes(whole[:len(whole) // 2])
            self.refused(["replay", cut], "cut.csv.zst", "cut off")
            flipped = Path(folder, "flipped.csv.zst")
            flipped.write_bytes(whole[:5000] + bytes([whole[5000] ^ 0xff]) + whole[5001:])
            self.refused(["replay", flipped], "flipped.csv.zst")
            plain = Path(folder, "order.csv")
            plain.write_text("dns,k,p,g,addr,a,b,c\n0,F,0,1,c000008000,2048,,\n", encoding="utf-8")
            self.refused(["replay", plain], "order.csv:2:", "out of order")

    def test_nothing_half_written(self):
        with tempfile.TemporaryDirectory() as folder:
            self.refused(["ops", "encode", RACE, "--out", f"{folder}/none/x"], "cannot be written")
            self.assertEqual(os.listdir(folder), [])

    def test_no_search_for_what_cannot_be_written(self):
        explore = ["explore", "--policy", "serial", "--world", "stopped", "--depth", "2", "--out"]
        with tempfile.TemporaryDirectory() as folder:
            for out in (f"{folder}/none/x", f"{folder}/{'x' * 300}"):
                self.refused([*explore, out], "cannot be written")
                self.assertEqual(run(*explore, out).stdout, "")
            self.refused([*explore, folder], "is a directory")
            kept = Path(folder, "kept.ops")
            kept.write_text("nop\n", encoding="utf-8")
            self.assertEqual([run(*explore, out).returncode for out in (kept, f"{folder}/new.ops")], [0, 0])
            self.assertEqual(kept.read_text(encoding="utf-8"), "nop\n")
            self.assertEqual(os.listdir(folder), ["kept.ops"])

    def test_no_look_at_an_input_whose_story_cannot_be_written(self):
        """Told before anything is looked at: the input need not even be there, which is what is told next."""
        asks = [("explain", option) for option in ("--minimize-to", "--html", "--cpp", "--bundle")]
        asks += [("schedule", option) for option in ("--minimize-to", "--html")]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file")
            file.write_text("mine", encoding="utf-8")
            for verb, option in asks:
                self.refused([verb, "none.ops", option, file / "x"], f"{file}/x: cannot be written", "Not a directory", f"choose another {option}")
            self.refused(["explain", "none.ops", "--minimize-to", file, "--bundle", f"{folder}/new/er"], "none.ops: cannot be read")
            self.refused(["schedule", "none.ops", "--minimize-to", file, "--html", f"{folder}/new"], "none.ops: cannot be read")
            self.refused(["schedule", "none.ops", "--minimize-to", folder], "is a directory")
            self.assertEqual((os.listdir(folder), file.read_text(encoding="utf-8")), (["file"], "mine"))

    def test_what_was_found_is_told_although_its_file_became_full(self):
        for command, option, word in ((["explain", RACE], "--minimize-to", "violates A3"), (["explain", RACE, "--json"], "--html", '"A3"'),
                                      (["schedule", SCHEDULE], "--html", "VIOLATES A3"), (["schedule", SCHEDULE, "--json"], "--minimize-to", '"A3"')):
            result = run(*command, "--policy", "immediate", option, "/dev/full")
            self.assertEqual(result.returncode, 2)
            self.assertEqual(result.stderr, f"stackdrain: /dev/full: cannot be written: No space left on device; choose another {option}\n")
            self.assertIn(word, result.stdout)

    def test_a_full_standard_output(self):
        explore = ["explore", "--policy", "serial", "--world", "stopped", "--depth", "2"]
        with open("/dev/full", "w", encoding="utf-8") as full:
            for verb in (["run", RACE, "--json"], ["explain", RACE, "--policy", "immediate"],
                         ["schedule", "corpus/schedule_fuzzer/a-drain-beside-a-flush.bin"], explore, [*explore, "--json"],
                         ["ops", "encode", RACE], ["ops", "check", RACE], ["replay", TRACE, "--policy", "serial"], ["list", "policies"]):
                self.refused(verb, "standard output: cannot be written", stdout=full)

    def test_a_full_standard_output_of_what_ends_the_process(self):
        with tempfile.TemporaryDirectory() as folder, open("/dev/full", "w", encoding="utf-8") as full:
            ends = Path(folder, "ends.ops")
            ends.write_text("world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\nspawn g0 4K\ngc-begin 2\n", encoding="utf-8")
            for verb in (["run", ends], ["explain", ends, "--html", f"{folder}/page"], ["schedule", ends],
                         ["explore", "--world", "stopped", "--depth", "3", "--json"]):
                result = run(*verb, "--policy", "serial", "--defect", "Q3", stdout=full)
                self.assertEqual(result.returncode, 2, result.stderr)
                asserted, told = result.stderr.splitlines()
                self.assertIn("stack_pool.cc", asserted)  # the pool's own assertion
                self.assertIn("stackdrain: standard output: cannot be written", told)


class Verbs(unittest.TestCase):
    def test_the_seed_race(self):
        result = run("run", RACE)
        self.assertEqual(result.returncode, 1)
        verdicts = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines() if not line.startswith(" ")}
        self.assertEqual(verdicts["immediate"], "VIOLATES")
        self.assertEqual(verdicts["serial"], "passes")
        self.assertEqual(verdicts["after-restart"], "passes")
        self.assertIn("A3", result.stdout)
        self.assertIn("marker m0 holds", result.stdout)
        self.assertEqual(run("run", RACE, "--policy", "sound").returncode, 0)
        self.assertEqual(run("run", RACE, "--expect").returncode, 0)

    def test_an_expectation_that_does_not_hold_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            wrong = Path(folder, "wrong.ops")
            wrong.write_text((ROOT / RACE).read_text(encoding="utf-8").replace("immediate A3", "immediate pass"),
                             encoding="utf-8")
            result = run("run", wrong, "--expect")
            self.assertEqual(result.returncode, 1)
            self.assertIn("expected pass, got A3", result.stdout)

    def test_text_to_bytes_and_back(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run("ops", "encode", RACE, "--out", f"{folder}/race").returncode, 0)
            self.assertEqual(run("ops", "decode", f"{folder}/race", "--out", f"{folder}/race.ops").returncode, 0)
            self.assertEqual(run("ops", "encode", f"{folder}/race.ops", "--out", f"{folder}/again").returncode, 0)
            self.assertEqual(Path(folder, "race").read_bytes(), Path(folder, "again").read_bytes())
            self.assertEqual(run("explain", f"{folder}/race", "--policy", "immediate").returncode, 1)

    def test_only_what_was_named_is_written(self):
        with tempfile.TemporaryDirectory() as folder:
            out, bundle = Path(folder, "race"), Path(folder, "bundle")
            mine, also_mine = Path(folder, "race.tmp"), Path(folder, "bundle.tmp", "mine")
            mine.write_text("mine", encoding="utf-8")
            also_mine.parent.mkdir()
            also_mine.write_text("mine", encoding="utf-8")
            self.assertEqual(run("ops", "encode", RACE, "--out", out, umask=0o027).returncode, 0)
            self.assertEqual(run("explain", RACE, "--policy", "immediate", "--bundle", bundle, umask=0o027).returncode, 1)
            self.assertEqual([path.read_text(encoding="utf-8") for path in (mine, also_mine)], ["mine", "mine"])
            self.assertEqual(sorted(os.listdir(folder)), ["bundle", "bundle.tmp", "race", "race.tmp"])
            modes = [path.stat().st_mode & 0o777 for path in (out, bundle, bundle / "index.json")]
            self.assertEqual(modes, [0o640, 0o750, 0o640])

    def test_what_is_no_file_stays_what_it_is(self):
        with tempfile.TemporaryDirectory() as folder:
            real, link, dangling, pipe = (Path(folder, name) for name in ("real", "link", "dangling", "pipe"))
            real.touch()
            link.symlink_to("real")
            dangling.symlink_to("made")
            os.mkfifo(pipe)
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer need not wait for one
            self.addCleanup(os.close, reader)
            self.assertEqual([run("ops", "encode", RACE, "--out", out).returncode for out in (pipe, link, dangling)], [0, 0, 0])
            self.assertTrue(pipe.is_fifo() and link.is_symlink() and dangling.is_symlink())
            written = os.read(reader, 1 << 16)
            self.assertTrue(written)
            self.assertEqual([real.read_bytes(), Path(folder, "made").read_bytes()], [written, written])

    def test_explain_minimises_draws_and_reproduces(self):
        race = ROOT / "corpus/policy_fuzzer/seed-race.ops"
        with tempfile.TemporaryDirectory() as folder:
            small, page, source = f"{folder}/small.ops", f"{folder}/race.html", f"{folder}/race.cpp"
            ran = run("explain", race, "--policy", "immediate", "--minimize-to", small, "--html", page, "--cpp", source)
            self.assertEqual(ran.returncode, 1, ran.stderr)
            self.assertIn("signature: A3@shrink/elem", ran.stdout)
            operations = [line for line in Path(small).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
            self.assertEqual(operations, ["spawn g0 16K", "block g0 recv", "gc-begin 2", "load m0 g0 elem", "shrink m1 g0"])
            self.assertIn("signature: A3@shrink/elem", run("explain", small, "--policy", "immediate").stdout)
            drawn = Path(page).read_text(encoding="utf-8")
            self.assertIn("<svg", drawn)
            self.assertNotIn("http", drawn.replace("http://www.w3.org/2000/svg", ""))
            library = Path(os.environ.get("STACKDRAIN_BUILD", ROOT / "build")) / "checked/target/libstackdrain_target.a"
            built = subprocess.run(["clang++-19", "-std=c++20", "-DSTACKDRAIN_YIELDS=1", "-DSTACKDRAIN_DEFECTS=1", f"-I{ROOT}", source, library,
                                    "-pthread", "-o", f"{folder}/again"], capture_output=True, text=True, check=False)
            self.assertEqual(built.returncode, 0, built.stderr)
            again = subprocess.run([f"{folder}/again"], capture_output=True, text=True, check=False)
            self.assertEqual(again.returncode, 1)
            self.assertIn("seen: A3@shrink/elem", again.stdout + again.stderr)

    def test_a_bundle_is_whole_and_new(self):
        with tempfile.TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle"
            command = ("explain", ROOT / "corpus/policy_fuzzer/seed-race.ops", "--policy", "immediate", "--bundle", bundle)
            self.assertEqual(run(*command).returncode, 1)
            index = json.loads((bundle / "index.json").read_text(encoding="utf-8"))
            self.assertEqual(index["signature"], "A3@shrink/elem")
            self.assertEqual({*index["files"], "index.json"}, {path.name for path in bundle.iterdir()})
            before = {path.name: path.read_bytes() for path in bundle.iterdir()}
            refused = run(*command)
            self.assertEqual((refused.returncode, refused.stderr.count("\n")), (2, 1))
            self.assertEqual(before, {path.name: path.read_bytes() for path in bundle.iterdir()})

    def test_json_is_json(self):
        with tempfile.TemporaryDirectory() as folder:
            quoted = Path(folder, 'a "quoted\\" name.ops')
            quoted.write_bytes((ROOT / RACE).read_bytes())
            for line in run("run", quoted, "--json").stdout.splitlines():
                self.assertEqual(json.loads(line)["input"], str(quoted))
        rows = [json.loads(line) for line in run("replay", TRACE, "--json").stdout.splitlines()]
        self.assertTrue(rows)
        for row in rows:
            self.assertEqual(row["violations"], 0)
            self.assertEqual(row["allocations"], row["trace_allocations"])

    def test_explore_says_what_it_did(self):
        result = run("explore", "--depth", "3", "--json")
        self.assertEqual(result.returncode, 0)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertGreater(len({row["world"] for row in rows}), 1)
        self.assertEqual(len(rows), len({(row["policy"], row["world"]) for row in rows}))
        for row in rows:
            self.assertEqual((row["end"], row["depth"], len(row["lengths"])), ("depth", 3, 4))
            for what in ("states", "transitions", "refused"):
                self.assertEqual(row[what], sum(length[what] for length in row["lengths"]))
            self.assertNotIn("counterexample", row)

    def test_a_counterexample_is_reproduced(self):
        with tempfile.TemporaryDirectory() as folder:
            found = f"{folder}/found.ops"
            result = run("explore", "--policy", "immediate", "--world", "stopped", "--depth", "5", "--out", found, "--json")
            self.assertEqual(result.returncode, 1)
            counterexample = json.loads(result.stdout)["counterexample"]
            self.assertEqual((counterexample["invariant"], counterexample["reproduced"]), ("A3", True))
            self.assertEqual(Path(found).read_text(encoding="utf-8").splitlines(), counterexample["program"])
            self.assertEqual(len(counterexample["program"]), counterexample["length"] + 1)
            self.assertEqual(run("run", found, "--policy", "immediate").returncode, 1)
            self.assertEqual(run("run", found, "--policy", "sound").returncode, 0)
            self.assertEqual(os.listdir(folder), ["found.ops"])

    def test_a_counterexample_that_cannot_be_written_is_told(self):
        # The first search finds one and can't write it; what ends the process (the pool's own assertion) is no exception.
        for more in (["--policy", "immediate", "--world", "stopped"], ["--policy", "serial", "--defect", "Q3"]):
            result = run("explore", *more, "--depth", "5", "--out", "/dev/full")
            told = [line for line in result.stderr.splitlines() if "stack_pool.cc" not in line]
            self.assertEqual((result.returncode, len(told)), (2, 1), result.stderr)
            self.assertIn("stackdrain: /dev/full: cannot be written: No space left", told[0])
            self.assertEqual(result.stdout.count("COUNTEREXAMPLE of"), 1)

    def test_what_ends_the_process_is_a_counterexample_too(self):
        # Frees a slot twice: the pool's own assertion stops it. One world's end does not end the others'.
        result = run("explore", "--policy", "serial", "--defect", "Q3", "--depth", "3", "--json")
        self.assertEqual(result.returncode, 1)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertGreater(len(rows), 1)
        self.assertTrue(any("assertion" in row.get("counterexample", {}).get("message", "") for row in rows), rows)

    def test_bounds_are_told(self):
        row = json.loads(run("explore", "--policy", "serial", "--world", "caches", "--depth", "30", "--memory", "3", "--json").stdout)
        self.assertEqual(row["end"], "memory")
        self.assertLess(row["depth"], 30)
        self.assertEqual(len(row["lengths"]), row["depth"] + 2)
        self.assertLessEqual(row["bytes"], 3e6)

    def test_an_interrupt_tells_what_is_complete(self):
        process = subprocess.Popen([ROOT / "stackdrain", "explore", "--policy", "serial", "--world", "stopped", "--depth", "30", "--json"],
                                   cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        row = json.loads(out)
        self.assertEqual((process.returncode, row["end"]), (0, "stopped"), err)
        self.assertGreater(row["depth"], 1)

    def test_lists_and_help(self):
        for what in ("policies", "operations", "defects", "invariants", "fuzzers", "benchmarks"):
            self.assertEqual(run("list", what).returncode, 0)
            self.assertTrue(run("list", what, "--names").stdout.split())
        for verb in ("report", "test", "fuzz", "explain", "run", "ops", "replay", "explore", "coverage", "bench", "list"):
            self.assertEqual(run(verb, "--help").returncode, 0)


if __name__ == "__main__":
    unittest.main()
