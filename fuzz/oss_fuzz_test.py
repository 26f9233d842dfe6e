"""Tests of the checks of an OSS-Fuzz build, on broken ones."""

import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import oss_fuzz  # noqa: E402


class BesideAHarness(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.out = Path(self.scratch.name)
        self.addCleanup(self.scratch.cleanup)
        self.write({"a": b"1", "b": b"2"}, "[libfuzzer]\nmax_len = 256\n")

    def write(self, seeds, options):
        with zipfile.ZipFile(self.out / "x_fuzzer_seed_corpus.zip", "w") as packed:
            for name, content in seeds.items():
                packed.writestr(name, content)
        (self.out / "x_fuzzer.options").write_text(options, encoding="utf-8")
        (self.out / "x_fuzzer.dict").write_text("", encoding="utf-8")

    def said(self, name="x_fuzzer", seeds=2):
        return "\n".join(oss_fuzz.check_files(self.out, name, seeds))

    def test_whole(self):
        self.assertEqual(self.said(), "")

    def test_seeds(self):
        self.assertIn("2 seeds, 3 in the corpus", self.said(seeds=3))
        self.write({"a": b"1", "b": b""}, "[libfuzzer]\nmax_len = 256\n")
        self.assertIn("b is empty", self.said())
        (self.out / "x_fuzzer_seed_corpus.zip").unlink()
        self.assertIn("is missing", self.said())

    def test_options(self):
        for options, words in [("max_len = 256\n", "no section headers"), ("[libfuzzer]\n", "says nothing"),
                               ("[libfuzzer]\nmax_len = many\n", "is no number"), ("[libfuzer]\nmax_len = 1\n", "is none of ours")]:
            self.write({"a": b"1", "b": b"2"}, options)
            self.assertIn(words, self.said())

    def test_name_and_dictionary(self):
        (self.out / "x_fuzzer.dict").unlink()
        self.assertIn("no dictionary", self.said())
        self.assertIn("other characters", self.said(name="x.fuzzer"))


class Binaries(unittest.TestCase):
    def test_linked(self):
        """The interpreter links more than libc."""
        self.assertIn("dynamically", "\n".join(oss_fuzz.check_linked("/usr/bin/python3")))
        self.assertEqual(oss_fuzz.check_linked("/usr/bin/true"), [])

    def test_calls_of_a_sanitizer(self):
        self.assertIn("0 calls of __asan", oss_fuzz.check_calls("/usr/bin/true", "address")[0])
        self.assertEqual(oss_fuzz.check_calls("/usr/bin/true", "coverage"), [])

    def test_a_harness_that_does_not_start(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            out = Path(folder)
            (out / "x_fuzzer.options").write_text("[libfuzzer]\nmax_len = 1\n", encoding="utf-8")
            script = out / "x_fuzzer"
            for body, words in [("exit 1", "does not start"),
                                ("echo 'INFO: Loaded 1 modules   (99 inline 8-bit counters)' >&2; echo 'Done 4 runs' >&2", "99 edges"),
                                ("echo \"WARNING: unrecognized flag '-x=1'\" >&2; echo 'Done 4 runs' >&2", "none of libFuzzer's"),
                                ("touch written && echo 'Done 4 runs' >&2", "does not start")]:
                script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
                script.chmod(0o555)
                out.chmod(0o555)
                self.assertIn(words, "\n".join(oss_fuzz.check_starts(out, "x_fuzzer", out)))
                out.chmod(0o755)
                script.chmod(0o755)

    def test_an_order_that_matters(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            out = Path(folder)
            (out / "x_fuzzer.options").write_text("[libfuzzer]\nmax_len = 1\n", encoding="utf-8")
            script = out / "x_fuzzer"
            script.write_text("#!/bin/sh\necho \"#3 INITED cov: 5 ft: ${2#-seed=}\" >&2\n", encoding="utf-8")
            script.chmod(0o755)
            self.assertIn("depends on their order", "\n".join(oss_fuzz.check_seeds(out, "x_fuzzer", out)))
            script.write_text("#!/bin/sh\necho '#3 INITED cov: 5 ft: 6' >&2\n", encoding="utf-8")
            self.assertEqual(oss_fuzz.check_seeds(out, "x_fuzzer", out), [])


if __name__ == "__main__":
    unittest.main()
