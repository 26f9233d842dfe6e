"""Tests of what says that an input costs too much, and of how it is counted."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import bounds  # noqa: E402


class Bounds(unittest.TestCase):
    def test_what_is_beyond(self):
        fine = {"noise": (bounds.MOST_INSTRUCTIONS, bounds.MOST_BYTES)}
        self.assertEqual(bounds.beyond("x", fine), [])
        self.assertIn("100,000,001 instructions", bounds.beyond("x", {"noise": (bounds.MOST_INSTRUCTIONS + 1, 0)})[0])
        self.assertIn("65 MiB", bounds.beyond("x", {"noise": (0, bounds.MOST_BYTES + bounds.MEBIBYTE)})[0])

    def test_large_inputs(self):
        with tempfile.TemporaryDirectory() as folder:
            seed = Path(folder) / "seed"
            seed.write_bytes(b"abc")
            noise, again = bounds.large_inputs([seed], folder)
            self.assertEqual((noise.stat().st_size, again.stat().st_size), (bounds.MEBIBYTE, bounds.MEBIBYTE))
            self.assertTrue(again.read_bytes().startswith(b"abcabc"))

    def test_memory_is_of_the_process_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "large"
            script.write_text(f"#!{sys.executable}\nb'x' * (80 << 20)\n", encoding="utf-8")
            script.chmod(0o755)
            self.assertGreater(bounds.resident(script, Path(folder), folder), 80 << 20)


if __name__ == "__main__":
    unittest.main()
