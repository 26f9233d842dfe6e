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
TRACE = "corpus/traces/gobuild.csv.zst"


def run(*arguments):
    return subprocess.run([ROOT / "stackdrain", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


class BadInput(unittest.TestCase):
    def refused(self, arguments, *words):
        result = run(*arguments)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
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
            library = ROOT / "build/checked/target/libstackdrain_target.a"
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
        for line in run("run", RACE, "--json").stdout.splitlines():
            json.loads(line)
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
