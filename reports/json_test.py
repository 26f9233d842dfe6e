"""Every JSON that the command emits fits its schema: results.schema.json, or a definition of command.schema.json.

Runs the verbs themselves. Strict: a member that the schema does not describe is a failure, too, so that no verb says
something that nobody can look up. Wants python3-jsonschema, and builds what the verbs need.
"""

import contextlib
import copy
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import jsonschema

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fuzz"))
import the_command  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
RESULTS = json.loads((ROOT / "reports/results.schema.json").read_text(encoding="utf-8"))
COMMAND = json.loads((ROOT / "reports/command.schema.json").read_text(encoding="utf-8"))
RACE = "corpus/policy_fuzzer/seed-race.ops"
SCHEDULE = "corpus/schedule_fuzzer/seed-race.bin"


def strict(schema):
    """The same schema, which allows no member that it does not describe."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(part) for name, part in schema.items()}
    if "properties" in made and isinstance(made["properties"], dict):
        made.setdefault("additionalProperties", False)
    return made


STORE = {"results.schema.json": strict(RESULTS), "command.schema.json": strict(COMMAND)}


def problem(value, schema):
    """The first thing that is wrong with a value, "" if nothing is."""
    resolver = jsonschema.RefResolver("command.schema.json" if schema is not RESULTS else "results.schema.json",
                                      STORE["command.schema.json" if schema is not RESULTS else "results.schema.json"], store=STORE)
    errors = jsonschema.Draft202012Validator(strict(schema), resolver=resolver).iter_errors(value)
    return next((f"{error.json_path}: {error.message}" for error in errors), "")


def run(*arguments, may=(0, 1)):
    ran = subprocess.run([ROOT / "stackdrain", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode not in may:
        raise AssertionError(f"{' '.join(map(str, arguments))} ended with {ran.returncode}: {ran.stderr}")
    return ran.stdout


# What a verb prints, an object a line (or one value): the arguments, and the definition that it must fit.
PRINTS = [
    (["run", RACE, "--json"], "run"),
    (["explain", RACE, "--policy", "immediate", "--minimize", "--json"], "explain"),
    (["explain", RACE, "--policy", "serial", "--json"], "explain"),
    (["explain", "corpus/page_heap_fuzzer/arena-exhausted-and-back.bin", "--fuzzer", "page_heap_fuzzer", "--json"], "explain_harness"),
    (["replay", "corpus/traces/gobuild.csv.zst", "--policy", "serial", "--json"], "replay"),
    (["explore", "--depth", "3", "--policy", "all", "--json"], "explore"),
    (["fuzz", "policy_fuzzer", "--policy", "immediate", "--empty-corpus", "--for", "20s", "--json"], "fuzz"),
    (["fuzz", "trace_fuzzer", "--for", "1s", "--json"], "fuzz"),
    (["defects", "--only", "immediate-free", "--trials", "1", "--for", "20s", "--json"], "defects"),
    (["compare", "reports/published/results.json", "reports/published/results.json", "--json"], "compare"),
    (["schedule", SCHEDULE, "--policy", "immediate", "--minimize", "--json"], "schedule"),
    (["schedule", "corpus/schedule_fuzzer/fault-adopted.bin", "--policy", "serial", "--json"], "schedule"),
    (["schedule", "corpus/schedule_fuzzer/a-mutator-waits-for-a-drain.bin", "--policy", "after-restart", "--json"], "schedule"),
    (["ops", "check", RACE, "--json"], "ops_check"),
    (["stress", "--policy", "serial", "--cycles", "5", "--json"], "stress"),
    (["test", "--only", "corpus: a program", "--json"], "test"),
    (["bench", "drain_benchmark", "--json", "--", "--benchmark_filter=serial/stacks:16/bytes:2048/random"], "bench"),
    (["bench", "--fuzzing", "--json"], "bench_fuzzing"),
    (["list", "policies", "--json"], "policies"),
    (["list", "operations", "--json"], "operations"),
    (["list", "defects", "--json"], "defects_list"),
    (["list", "invariants", "--json"], "invariants"),
    (["list", "faults", "--json"], "faults"),
    (["list", "fuzzers", "--json"], "names"),
    (["list", "benchmarks", "--json"], "names"),
    (["list", "peers", "--json"], "names"),
]
# The others: what else is emitted, and where it is held to its definition.
ELSEWHERE = {
    "bundle": "test_a_bundle",
    "instructions": "test_committed_files",
    "report": "test_a_report",
    "pairs": "test_results: the published results have the same rows",
    "bench_pairs": "test_pairs",
    "bench_instructions": "test_counted_instructions",
    "coverage": "the check of the corpus' coverage (`./stackdrain test --only corpus`)",
    "mutants": "test_a_mutant, which takes a build under ASan",
}


def values_of(said):
    try:
        return [json.loads(said)]
    except ValueError:
        return [json.loads(line) for line in said.splitlines()]


class Schemas(unittest.TestCase):
    def test_they_are_schemas(self):
        for schema in (RESULTS, COMMAND):
            jsonschema.Draft202012Validator.check_schema(schema)

    def test_every_definition_is_tried(self):
        self.assertEqual(set(COMMAND["$defs"]), {name for _, name in PRINTS} | set(ELSEWHERE))

    def test_every_verb_with_json_is_tried(self):
        stackdrain = the_command.load()
        verbs = next(action.choices for action in stackdrain.parser()._actions if action.choices)
        with_json = {name for name, verb in verbs.items() if any("--json" in action.option_strings for action in verb._actions)}
        self.assertEqual(with_json - {arguments[0] for arguments, _ in PRINTS}, {"coverage", "mutants", "report"})
        self.assertEqual(set(verbs) - with_json, {"completion"})

    def test_what_is_wrong_is_seen(self):
        good = values_of(run("run", RACE, "--policy", "serial", "--json"))[0]
        self.assertEqual(problem(good, COMMAND["$defs"]["run"]), "")
        for change in ({"operations": "11"}, {"policy": None}, {"colour": "red"}):
            self.assertNotEqual(problem(good | change, COMMAND["$defs"]["run"]), "", change)
        del good["policy"]
        self.assertIn("policy", problem(good, COMMAND["$defs"]["run"]))


class Printed(unittest.TestCase):
    def test_each_verb(self):
        for arguments, name in PRINTS:
            with self.subTest(" ".join(arguments)):
                values = values_of(run(*arguments))
                self.assertTrue(values)
                for value in values:
                    self.assertEqual(problem(value, COMMAND["$defs"][name]), "")

    def test_a_mutant(self):
        value = json.loads(run("mutants", "--sample", "1", "--for", "1s", "--json"))
        self.assertEqual(problem(value, COMMAND["$defs"]["mutants"]), "")


    def test_what_ends_the_process(self):
        with tempfile.TemporaryDirectory() as folder:
            ends = Path(folder, "ends.ops")
            ends.write_text("world seed orders=3 locks=one stopped procs=1 arena=1M hold=each\nspawn g0 4K\ngc-begin 2\n", encoding="utf-8")
            value = json.loads(run("schedule", ends, "--policy", "serial", "--defect", "Q3", "--json"))
        self.assertEqual(problem(value, COMMAND["$defs"]["schedule"]), "")
        self.assertEqual((value["violated"], value["invariant"], value["stopped_by"]), (True, None, "the pool's own assertion"))

    def test_a_report(self):
        published = ROOT / "reports/published/results.json"
        with tempfile.TemporaryDirectory() as folder:
            value = json.loads(run("report", "--again", published, "--out", folder, "--title", "Ours & theirs", "--compare-with", published, "--json"))
            self.assertEqual(problem(value, COMMAND["$defs"]["report"]), "")
            page = Path(value["page"]).read_text(encoding="utf-8")
            self.assertIn("<title>Ours &amp; theirs</title>", page)
            self.assertIn('id="compared"', page)
            self.assertTrue(value["rows"])
            self.assertIn("<svg", Path(value["page"]).read_text(encoding="utf-8"))
            self.assertEqual(Path(value["results"]).read_bytes(), published.read_bytes())

    def said(self, arguments, **measured):
        """What a verb prints when what it measures is put in by hand: that takes minutes."""
        stackdrain = the_command.load()
        options = stackdrain.parser().parse_args(arguments)
        options.rest = []
        with mock.patch.multiple(stackdrain, install=mock.DEFAULT, build=mock.DEFAULT, policy_rows=mock.DEFAULT,
                                 **{name: mock.Mock(return_value=value) for name, value in measured.items()}):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                options.function(options)
        return [json.loads(line) for line in said.getvalue().splitlines()]

    def test_pairs(self):
        rows = json.loads((ROOT / "reports/published/results.json").read_text(encoding="utf-8"))["pairs"]
        values = self.said(["bench", "--pairs", "--json"], pair_rows=rows)
        self.assertTrue(values == rows)  # a difference of thousands of rows is not worth its minutes
        self.assertEqual({problem(value, COMMAND["$defs"]["bench_pairs"]) for value in values}, {""})

    def test_counted_instructions(self):
        counts = json.loads((ROOT / "benchmarks/instructions.json").read_text(encoding="utf-8"))
        recorded = copy.deepcopy(counts)
        counts["serial"]["4096"]["retire"] *= 2
        for counted, off in ((recorded, 0), (counts, 1)):
            value, = self.said(["bench", "--instructions", "--json"], all_instructions=counted)
            self.assertEqual(problem(value, COMMAND["$defs"]["bench_instructions"]), "")
            self.assertEqual((value["instructions"], len(value["off"])), (counted, off))


class Files(unittest.TestCase):
    def test_a_bundle(self):
        with tempfile.TemporaryDirectory() as folder:
            run("explain", RACE, "--policy", "immediate", "--minimize", "--bundle", f"{folder}/race")
            index = json.loads(Path(folder, "race/index.json").read_text(encoding="utf-8"))
            self.assertEqual(problem(index, COMMAND["$defs"]["bundle"]), "")
            self.assertEqual(set(index["files"]) | {"index.json"}, {path.name for path in Path(folder, "race").iterdir()})

    def test_committed_files(self):
        counts = json.loads((ROOT / "benchmarks/instructions.json").read_text(encoding="utf-8"))
        self.assertEqual(problem(counts, COMMAND["$defs"]["instructions"]), "")

    def test_results(self):
        results = json.loads((ROOT / "reports/published/results.json").read_text(encoding="utf-8"))
        self.assertEqual(problem(results, RESULTS), "")
        broken = copy.deepcopy(results)
        broken["context"]["cpus"] = "two"
        self.assertIn("cpus", problem(broken, RESULTS))


if __name__ == "__main__":
    unittest.main()
