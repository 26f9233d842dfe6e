"""Tests of the profile that the harnesses are compiled with: made once, named by what it says, and taken by the build."""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import the_command  # noqa: E402

COMMAND = the_command.load()


class InAFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Made(InAFolder):
    def setUp(self):
        super().setUp()
        self.programs = [self.folder / "fuzz" / name for name in COMMAND.RATES]
        self.programs[0].parent.mkdir()
        self.told, self.ran = b"counts", []
        for name, instead in (("build", lambda *_, **__: self.folder), ("output_of", self.run_or_merge)):
            patch = mock.patch.object(COMMAND, name, instead)
            self.addCleanup(patch.stop)
            patch.start()
        self.built(1000)

    def built(self, when, programs=slice(None)):
        for program in self.programs[programs]:
            program.touch()
            os.utime(program, (when, when))

    def run_or_merge(self, command, env=None):
        self.ran.append(Path(command[0]).name)
        target = Path(env["LLVM_PROFILE_FILE"]) if env else Path(command[2].removeprefix("-output="))
        target.write_bytes(self.told + f" of {self.ran[-1]}".encode() if env else Path(command[3]).read_bytes() + b", merged")
        return ""

    def profile(self):
        COMMAND.profile_of_fuzzing.cache_clear()
        self.addCleanup(COMMAND.profile_of_fuzzing.cache_clear)
        return COMMAND.profile_of_fuzzing()

    def test_once(self):
        first = self.profile()
        self.assertEqual({told.name: told.read_bytes() for told in first.iterdir()},
                         {"throughput.profdata": b"counts of throughput, merged", "schedule_throughput.profdata": b"counts of schedule_throughput, merged"})
        self.assertEqual(self.ran, ["throughput", "llvm-profdata-19", "schedule_throughput", "llvm-profdata-19"])
        self.assertEqual(self.profile(), first)
        self.assertEqual(len(self.ran), 4)

    def test_again_when_the_program_is_another(self):
        first = self.profile()
        for program in (slice(0, 1), slice(1, 2)):
            self.built(self.profile().stat().st_mtime + 10, program)
            before = len(self.ran)
            self.assertEqual(self.profile().name, first.name, "the same counts, the same name: nothing is compiled again")
            self.assertEqual(len(self.ran), before + 4)
        self.told = b"other counts"
        self.built(self.profile().stat().st_mtime + 10)
        second = self.profile()
        self.assertNotEqual(second.name, first.name)
        self.assertEqual(list(second.parent.iterdir()), [second])

    def test_who_breaks_a_pool_can_still_fuzz_it(self):
        said = io.StringIO()
        with mock.patch.object(COMMAND, "output_of", lambda *_, **__: "heap-use-after-free"), contextlib.redirect_stderr(said):
            self.assertEqual(self.profile(), "")
        self.assertIn("heap-use-after-free", said.getvalue())
        self.assertEqual(list(self.folder.rglob("*.profdata")), [])
        self.assertTrue(self.profile().exists(), "when it is mended there is one")


class Taken(InAFolder):
    def configured(self, **settings):
        lines = [f"{name}:FILEPATH={value}" for name, value in settings.items()]
        (self.folder / "CMakeCache.txt").write_text("\n".join(["CMAKE_BUILD_TYPE:STRING=Release", *lines, ""]), encoding="utf-8")
        (self.folder / "build.ninja").touch()

    def test_by_a_build_that_has_another(self):
        self.assertFalse(COMMAND.is_configured(self.folder, {}))
        self.configured(STACKDRAIN_PROFILE="/one.profdata")
        self.assertTrue(COMMAND.is_configured(self.folder, {"STACKDRAIN_PROFILE": Path("/one.profdata")}))
        self.assertFalse(COMMAND.is_configured(self.folder, {"STACKDRAIN_PROFILE": Path("/two.profdata")}))
        self.assertFalse(COMMAND.is_configured(self.folder, {"STACKDRAIN_PROFILE": ""}))
        self.assertFalse(COMMAND.is_configured(self.folder, {"STACKDRAIN_POOLS": Path("/pools")}))
        self.configured(STACKDRAIN_PROFILE="")
        self.assertTrue(COMMAND.is_configured(self.folder, {"STACKDRAIN_PROFILE": ""}))

    def test_as_the_presets_are(self):
        self.configured()
        presets = (COMMAND.ROOT / "CMakePresets.json").stat().st_mtime
        os.utime(self.folder / "build.ninja", (presets - 1, presets - 1))
        self.assertFalse(COMMAND.is_configured(self.folder, {}))


class Used(unittest.TestCase):
    def test_by_the_libraries_and_by_nothing_that_has_a_main(self):
        folder = COMMAND.build("fuzz", ["stackdrain_machine", "stackdrain_schedule"], quiet=True)
        lines = [one["command"] for one in json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))]
        profiles = {"/".join(Path(re.search(r" -o (\S+)", line)[1]).parts[-2:]): re.findall(r"-fprofile-use=(\S+)", line)
                    for line in lines}
        for rate, libraries in {"throughput": ("machine.dir/machine", "program.dir/mutator", "target.dir/stack_pool"),
                                "schedule_throughput": ("schedule.dir/schedule", "machine_marked.dir/checker", "target_marked.dir/stack_pool")}.items():
            made = [str(COMMAND.profile_of_fuzzing() / f"{rate}.profdata")]
            self.assertTrue(Path(made[0]).exists())
            for library in libraries:
                self.assertEqual(profiles[f"stackdrain_{library}.cc.o"], made, library)
        for other in ("encode_program", "policy_fuzzer", "throughput", "schedule_throughput"):
            self.assertEqual(profiles[f"{other}.dir/{other}.cc.o"], [], other)


if __name__ == "__main__":
    unittest.main()
