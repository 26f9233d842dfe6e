"""Tests of the command's help and completion: bash is asked, with the script that the package installs."""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import the_command  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


COMMAND = the_command.load()
VERBS = next(action for action in COMMAND.parser()._actions if isinstance(action, argparse._SubParsersAction)).choices


def options_of(verb):
    return {flag: action for action in verb._actions for flag in action.option_strings if flag.startswith("--") and "_" not in flag}


def bash(lines):
    """What bash's completion offers for each list of words, the last of which is being typed."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "completion"
        script.write_text(COMMAND.COMPLETION, encoding="utf-8")
        asks = [f". '{script}'"]
        for words in lines:
            quoted = " ".join(f"'{word}'" for word in words)
            asks.append(f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _stackdrain; echo "${{COMPREPLY[*]}}"')
        ran = subprocess.run(["bash", "--norc", "-c", "\n".join(asks)], cwd=ROOT, env=os.environ | {"LC_ALL": "C"}, capture_output=True,
                             text=True, check=False)
    if ran.returncode != 0 or ran.stderr:
        raise AssertionError(f"bash ended with {ran.returncode}: {ran.stderr}")
    offered = ran.stdout.split("\n")[:-1]
    return [line.split(" ") if line else [] for line in offered]


class Completion(unittest.TestCase):
    def test_each_verb_and_each_option(self):
        verbs, *flags = bash([["./stackdrain", ""]] + [["./stackdrain", verb, "--"] for verb in VERBS])
        self.assertEqual(verbs, [row[0] for row in COMMAND.VERBS])
        for (name, verb), offered in zip(VERBS.items(), flags, strict=True):
            with self.subTest(name):
                self.assertEqual(set(offered), set(options_of(verb)))

    def test_what_is_typed_is_continued(self):
        offered = bash([["./stackdrain", "re"], ["./stackdrain", "fuzz", "--em"], ["./stackdrain", "fuzz", "policy"],
                        ["./stackdrain", "run", "--policy", "span"], ["./stackdrain", "run", "--policy", "=", "span-i"],
                        ["./stackdrain", "fuzz", "--engine", ""], ["./stackdrain", "run", "x.ops", "--defect", "immediate"],
                        ["./stackdrain", "list", "pee"], ["./stackdrain", "frobnicate", ""], ["./stackdrain", "run", "corpus/"]])
        self.assertEqual(offered, [["report", "replay"], ["--empty-corpus"], ["policy_fuzzer"], ["span-in-pause", "span-after-restart"],
                                   ["span-in-pause"], ["libfuzzer", "afl"], ["immediate-free"], ["peers"], [], []])

    def test_names_are_those_of_the_tables(self):
        for table in ("policies", "defects"):
            listed = subprocess.run([ROOT / "stackdrain", "list", table, "--names"], capture_output=True, text=True, check=True).stdout.split()
            self.assertEqual([name for name in COMMAND.names_in(table) if name not in ("sound", "all")], listed)

    def test_what_makes_no_sense_is_refused(self):
        ran = subprocess.run([ROOT / "stackdrain", "completion", "two"], capture_output=True, text=True, check=False)
        self.assertEqual((ran.returncode, len(ran.stderr.splitlines())), (2, 1))


class Checks(unittest.TestCase):
    """What `./stackdrain test` itself is made of."""

    def test_a_command_in_a_document_is_parsed_unless_it_is_a_form(self):
        self.assertEqual(COMMAND.bad_command("explore --policy serial --defect Q7"), "")
        self.assertIn("--plicy", COMMAND.bad_command("explore --plicy serial --defect Q7"))
        self.assertIn("is not there", COMMAND.bad_command("run corpus/policy_fuzzer/no-such-program.ops"))
        for form in ("run FILE.ops --plicy P", "ops decode [FILE] --plicy x", "fuzz --help"):
            self.assertEqual(COMMAND.bad_command(form), "", form)

    def test_the_readmes_policies_are_those_of_the_table(self):
        readme = "text\n\n## Policies\n\n| name | does | from |\n|---|---|---|\n| `a` | at once: the known-bad control | Go |\n| `b-2` | later | ours |\n\n## More\n"
        rows = [{"name": "a", "origin": "Go", "sound": False}, {"name": "b-2", "origin": "ours", "sound": True}]
        self.assertEqual(COMMAND.policies_otherwise(readme, rows), [])
        for change, word in ((("| `b-2` | later | ours |\n", ""), "has a; `list policies` has a b-2"), (("`b-2`", "`b`"), "has a b;"),
                             (("ours", "theirs"), "b-2 is from “theirs” and sound; `list policies` says “ours” and sound"),
                             (("later", "never: the known-bad control"), "b-2 is from “ours” and known-bad control"),
                             (("## Policies", "## Pools"), "has no row")):
            problems = COMMAND.policies_otherwise(readme.replace(*change), rows)
            self.assertEqual(len(problems), 1, problems)
            self.assertIn(word, problems[0])

    def test_whatever_breaks_a_check_is_a_failure_of_that_one(self):
        checks = COMMAND.Checks(None)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            checks.run("one", lambda: {}["no such key"])
            checks.run("other", lambda: "")
        self.assertEqual((checks.failed, checks.passed), (["one"], 1))
        self.assertIn("no such key", said.getvalue())

    def test_a_file_is_written_whole_and_beside_it_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path, other = Path(folder) / "x.json", Path(folder) / "x.json.tmp"
            other.write_text("a user's own", encoding="utf-8")
            COMMAND.check_writable(path)
            COMMAND.write_whole(path, "all")
            self.assertEqual(path.read_text(encoding="utf-8"), "all")
            self.assertEqual(other.read_text(encoding="utf-8"), "a user's own")
            for write in (COMMAND.check_writable, lambda to: COMMAND.write_whole(to, "all")):
                for bad in (Path(folder), path / "in-a-file"):
                    with self.assertRaisesRegex(COMMAND.BadInput, "cannot be written: .*; choose another --out"):
                        write(bad)
            self.assertEqual({found.name for found in Path(folder).iterdir()}, {"x.json", "x.json.tmp"})


class Help(unittest.TestCase):
    def test_each_verb_has_a_manual(self):
        for name, verb in VERBS.items():
            with self.subTest(name):
                said = verb.format_help()
                for word in ("usage:", "options:", "examples:", "files:", "exit codes:"):
                    self.assertIn(word, said)
                for action in verb._actions:
                    if action.option_strings:
                        self.assertTrue(action.help, f"{name} {action.option_strings} says nothing of itself")

    def test_each_example_is_a_command(self):
        for name, _, _, _, manual in COMMAND.VERBS:
            self.assertTrue(manual.examples)
            for example in manual.examples:
                with self.subTest(example):
                    self.assertEqual(example.split()[0], name)
                    self.assertEqual(COMMAND.bad_command(example), "")


if __name__ == "__main__":
    unittest.main()
