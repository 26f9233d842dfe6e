"""Tests of the scoreboard's own arithmetic and of the statistics below it."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import scoreboard  # noqa: E402
from scoreboard import survival  # noqa: E402


def row(defect, seconds, reported=True, **other):
    return {"defect": defect, "policy": "serial", "engine": "libfuzzer", "corpus": "empty", "seed": 1, "limit": 10.0,
            "reported": reported, "by": "A3" if reported else "", "explained": "A3" if reported else "", "right": reported,
            "executions": int(seconds * 1000), "seconds": seconds, "reached_executions": 5, "reached_seconds": 0.01} | other


def happened(*times):
    return [survival.Trial(time, True) for time in times]


def cut_off(*times):
    return [survival.Trial(time, False) for time in times]


class SurvivalTest(unittest.TestCase):
    def test_who_was_cut_off_first_did_not_take_longer_or_shorter(self):
        """Found after 1,000 executions, each time, and never in 60: nothing can be said; and so of unequal limits."""
        self.assertEqual(survival.compared(happened(*[1000] * 5), cut_off(*[60] * 5)), (0.5, 1.0))
        self.assertEqual(survival.compared(cut_off(*[20] * 5), happened(*[30] * 5)), (0.5, 1.0))
        effect, p = survival.compared(cut_off(*[40] * 5), happened(*[30] * 5))
        self.assertEqual(effect, 1)
        self.assertLess(p, 0.01)
        self.assertEqual(survival.compared(cut_off(30), happened(30))[0], 1)

    def test_where_nothing_is_cut_off_it_is_mann_and_whitneys(self):
        first, second = [1, 5, 7, 9, 12, 13], [2, 3, 4, 6, 8, 10.5]
        effect, p = survival.compared(happened(*first), happened(*second))
        self.assertAlmostEqual(effect, sum(a > b for a in first for b in second) / 36)
        self.assertAlmostEqual(p, survival.mann_whitney(first, second))

    def test_without_anything_cut_off_it_is_the_share_that_is_left(self):
        trials = [survival.Trial(t, True) for t in (1, 2, 2, 4)]
        self.assertEqual(survival.survival(trials), [(0.0, 1.0), (1, 0.75), (2, 0.25), (4, 0.0)])
        self.assertAlmostEqual(survival.restricted_mean(trials, 10), 9 / 4)

    def test_what_is_cut_off_leaves_the_others_more_weight(self):
        trials = [survival.Trial(1, True), survival.Trial(2, False), survival.Trial(3, True)]
        curve = survival.survival(trials)
        self.assertAlmostEqual(curve[1][1], 2 / 3)
        self.assertAlmostEqual(curve[2][1], 0.0)

    def test_nothing_happened(self):
        trials = [survival.Trial(10, False)] * 3
        self.assertEqual(survival.survival(trials), [(0.0, 1.0)])
        self.assertEqual(survival.restricted_mean(trials, 10), 10)

    def test_effect_size(self):
        self.assertEqual(survival.compared(happened(3, 4), happened(1, 2))[0], 1)
        self.assertEqual(survival.compared(happened(1, 2), happened(1, 2)), (0.5, 1.0))

    def test_mann_whitney(self):
        self.assertGreater(survival.mann_whitney([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), 0.9)
        # The same by scipy.stats.mannwhitneyu(method="asymptotic"): 0.012185780355344813.
        self.assertAlmostEqual(survival.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 0.0121857803)
        self.assertEqual(survival.mann_whitney([1, 1], [1, 1]), 1.0)


class WhereDefectsAreSeenTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tool, corpus = Path(folder.name, "tool"), Path(folder.name, "corpus")
        self.tool.write_text("""#!/bin/sh
case $2 in
defects) printf 'none [-] no defect (may be reported by )\\nlost [-] a (may be reported by C3 B1)\\nraced [-] b (may be reported by F2)\\nany [-] c (may be reported by A5)\\n' ;;
policies) printf 'immediate at once [Go; not sound]\\nserial one by one [Go]\\nbitmap bits [ours]\\n' ;;
esac
""", encoding="utf-8")
        self.tool.chmod(0o755)
        (corpus / "policy_fuzzer").mkdir(parents=True)
        # The last file names a policy that nobody asked for: it must not become the one that is wanted.
        for name, expectations in (("a", ["lost immediate A3", "lost bitmap C3", "lost serial B1"]), ("b", ["raced all pass", "any all A5"]),
                                   ("z", ["lost bitmap C3"])):
            Path(corpus, "policy_fuzzer", f"{name}.ops").write_text("".join(f"# expect: defect={one}\n" for one in expectations), encoding="utf-8")
        self.corpus = corpus

    def pairs(self, policy):
        return [(defect.name, defect.policy) for defect in scoreboard.defects_of(self.tool, self.corpus, policy)]

    def test_each_under_one_without_a_policy(self):
        self.assertEqual(self.pairs(None), [("lost", "bitmap"), ("raced", "serial"), ("any", "serial")])

    def test_each_under_each_that_a_program_names(self):
        self.assertEqual(self.pairs("all"), [("lost", "bitmap"), ("lost", "serial"), ("raced", "serial"), ("any", "serial")])

    def test_under_the_one_that_is_wanted(self):
        self.assertEqual(self.pairs("serial"), [("lost", "serial"), ("raced", "serial"), ("any", "serial")])
        self.assertEqual(self.pairs("bitmap"), [("lost", "bitmap")])

    def test_who_wants_a_schedule(self):
        harness = {defect.name: defect.harness for defect in scoreboard.defects_of(self.tool, self.corpus)}
        self.assertEqual(harness, {"lost": "policy_fuzzer", "raced": scoreboard.SCHEDULES, "any": "policy_fuzzer"})


class FalseAlarmTest(unittest.TestCase):
    HARNESS = """#!/bin/sh
case $1 in -*) printf x > found-1; echo 'policy serial violates B4 at operation 1' >&2; exit 77 ;; esac
[ -z "$STACKDRAIN_DEFECT" ] && exit %d
exit 77
"""

    def trial(self, without):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, text in (("policy_fuzzer", self.HARNESS % without), ("tool", "#!/bin/sh\necho policy serial violates B4 at\n")):
                (folder / file).write_text(text, encoding="utf-8")
                (folder / file).chmod(0o755)
            setup = scoreboard.Setup(folder, folder / "tool", [], None, 1, False, alarms=folder / "alarms")
            row = scoreboard.trial(setup, scoreboard.Defect("lost", frozenset({"B4"}), "serial"), 7)
            return row, sorted(file.name for file in folder.glob("alarms/*"))

    def test_what_is_reported_without_the_defect_too_is_none_of_its_findings(self):
        row, kept = self.trial(77)
        self.assertEqual((row["reported"], row["by"], row["explained"], row["right"]), (True, "B4", scoreboard.FALSE_ALARM, False))
        self.assertEqual(kept, ["policy_fuzzer-lost-7"])
        self.assertIn("FALSE ALARM: without a defect, too: B4 under serial; looking for lost, seed 7", scoreboard.lines([row]))

    def test_what_is_not_is(self):
        row, kept = self.trial(0)
        self.assertEqual((row["explained"], row["right"], kept), ("B4", True, []))


class PlainTest(unittest.TestCase):
    def test_a_harness_is_told_to_leave_its_mutator_away(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            harness = folder / "policy_fuzzer"
            harness.write_text(f'#!/bin/sh\necho "[$STACKDRAIN_PLAIN_MUTATION]" >> {folder}/asked\n', encoding="utf-8")
            harness.chmod(0o755)
            rows = [scoreboard.trial(scoreboard.Setup(folder, folder / "tool", [], None, 1, plain), scoreboard.Defect("lost", frozenset(), "serial"), 1)
                    for plain in (False, True)]
            self.assertEqual((folder / "asked").read_text(encoding="utf-8").split(), ["[]", "[1]"])
        self.assertEqual([row["engine"] for row in rows], ["libfuzzer", "libfuzzer, plain"])


class ScoreboardTest(unittest.TestCase):
    def test_summary(self):
        rows = [row("a", 1.0), row("a", 3.0), row("a", 10.0, reported=False)]
        total = scoreboard.summary(rows)
        self.assertEqual((total["found"], total["trials"], total["seconds"], total["worst"]), (2, 3, 2.0, 3.0))
        self.assertAlmostEqual(total["mean"], (1 + 3 + 10) / 3)

    def test_reporter(self):
        self.assertEqual(scoreboard.reporter("policy serial violates C3 at operation 4"), "C3")
        self.assertEqual(scoreboard.reporter("policies a and b violate G2 at"), "G2")
        self.assertEqual(scoreboard.reporter("policy p stopped by the pool's own assertion at"), "assertion")
        self.assertEqual(scoreboard.reporter("ERROR: AddressSanitizer: use-after-poison on"), "F5")
        self.assertEqual(scoreboard.reporter("AddressSanitizer: CHECK failed"), "sanitizer")

    def test_what_was_missed_is_said(self):
        text = "\n".join(scoreboard.lines([row("a", 1.0), row("b", 10.0, reported=False)]))
        self.assertIn("1 of 2 defects found in every trial", text)
        self.assertIn("missed in some: b", text)

    def test_a_defect_of_two_queues_has_a_line_for_each(self):
        text = "\n".join(scoreboard.lines([row("a", 1.0), row("a", 10.0, reported=False, policy="bitmap")]))
        self.assertIn("1 of 2 pairs of a defect and a policy found in every trial", text)
        self.assertRegex(text, r"a +bitmap +0/1")

    def test_a_wrong_explanation_is_said(self):
        text = "\n".join(scoreboard.lines([row("a", 1.0, explained="E1", right=False)]))
        self.assertIn("explained as E1; 1 wrongly", text)

    def test_comparison(self):
        text = scoreboard.comparison([row("a", 5.0)] * 5, [row("a", 1.0)] * 5)
        self.assertEqual(text[0], "then: libfuzzer; now: libfuzzer")
        self.assertRegex(text[2], r"^a +5\.00 s +1\.00 s +1\.00 +0\.00\d\d +5,000 +1,000 +1\.00 +0\.00")

    def test_comparison_of_engines(self):
        """Slower by the clock and yet in fewer executions; one that was not reported counts as more than it was looked for."""
        afl = [row("a", 9.0, executions=50, engine="afl"), row("a", 10.0, reported=False, executions=60, engine="afl")]
        text = scoreboard.comparison([row("a", 1.0)] * 2, afl)
        self.assertEqual(text[0], "then: libfuzzer; now: afl")
        self.assertRegex(text[2], r"^a +1\.00 s +9\.50 s +0\.00 .* 1,000 +525 +0\.75")

    def test_commands_of_afl(self):
        command = scoreboard.afl_command("harness", "seeds", "out", 7, 12.4, ["-max_len=256", "-use_counters=0"], ["-M", "job0"])
        self.assertEqual(" ".join(command), "afl-fuzz -i seeds -o out -s 7 -V 12 -G 256 -M job0 -- harness")
        self.assertNotIn("-G", scoreboard.afl_command("harness", "seeds", "out", 7, 1, []))
        self.assertIn("AFL_BENCH_UNTIL_CRASH", scoreboard.afl_environment(None))
        self.assertNotIn("AFL_BENCH_UNTIL_CRASH", scoreboard.afl_environment(None, True))
        self.assertNotIn("AFL_CUSTOM_MUTATOR_LIBRARY", scoreboard.afl_environment(None))

    def test_a_file_that_is_none(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.json"
            for content in ("", "[]", "{}", json.dumps({"defects": [{"defect": "a"}]})):
                path.write_text(content, encoding="utf-8")
                with self.assertRaisesRegex(ValueError, "is no scoreboard"):
                    scoreboard.load(path)
            with self.assertRaisesRegex(ValueError, "cannot be read"):
                scoreboard.load(Path(folder) / "absent.json")


if __name__ == "__main__":
    unittest.main()
