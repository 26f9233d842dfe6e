"""Tests of the mutation engine: what it changes, what it leaves alone, and how it counts."""

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import mutants  # noqa: E402


def changes(line):
    return {mutant.what: mutant.after.strip() for mutant in mutants.mutants_of_line("target/x.cc", 1, line)}


class MutantsTest(unittest.TestCase):
    def test_changes(self):
        self.assertEqual(changes("  if (a < b) return 0;")["less to less-or-equal"], "if (a <= b) return 0;")
        self.assertEqual(changes("  if (a < b) return 0;")["condition negated"], "if (!(a < b)) return 0;")
        self.assertEqual(changes("  x = y + 1;")["one off"], "x = y + 2;")
        self.assertEqual(changes("  span->out = 0;")["statement deleted"], ";")
        self.assertEqual(changes("  count.fetch_add(n, std::memory_order_relaxed);")["fetch_add to fetch_sub"],
                         "count.fetch_sub(n, std::memory_order_relaxed);")
        self.assertEqual(changes("  push(span, list);")["swapped arguments"], "push(list, span);")

    def test_what_is_left_alone(self):
        for line in ("  // a < b", "  STACKDRAIN_CHECK(a == b, \"what\");", "  if (planted(Defect::kQ1)) x = 0;", "int f(int a) {",
                     "  MutexLock lock(mutex_);", "  visitor.hidden(1);"):
            self.assertEqual(changes(line), {}, line)
        for line in ("  return x;", "  Span* span = front();", "  const size_t n = 3;", "  size_t n = m;", "      return found;"):
            self.assertNotIn("statement deleted", changes(line), line)

    def test_what_only_planted_defects_reach_is_left_out_to_its_end(self):
        lines = ["// not reached by programs: planted defects alone", "void f() {", "  x = y + 1;", "  if (a) {", "    b();", "  }", "}",
                 "void g() {", "  x = y + 1;", "}"]
        self.assertEqual({mutant.line for mutant in mutants.mutants_of("target/x.cc", lines)}, {9})
        lines[0] = "// not reached by programs: the planted defects Q1 and Q3 alone ask"
        self.assertEqual({mutant.line for mutant in mutants.mutants_of("target/x.cc", lines)}, {9})
        lines[0] = "// not reached by programs: who knows"
        self.assertEqual({mutant.line for mutant in mutants.mutants_of("target/x.cc", lines)}, {3, 4, 5, 9})

    def test_in_a_class_functions_are_mutated_and_declarations_are_not(self):
        lines = ["class X {", " public:", "  bool empty() const { return n == 0; }", "  int f() SD_REQUIRES(mutex_) { return n + 1; }",
                 "  void g() {", "    n = 0;", "  }", " private:", "  struct Y {", "    int n = 0;", "    bool is = false;", "  };",
                 "  bool on_ = true;", "  void h(bool on = true);", "};", "inline int k() {", "  return n - 1;", "}"]
        self.assertEqual({mutant.line for mutant in mutants.mutants_of("target/x.h", lines)}, {3, 4, 6, 17})

    def test_of_a_header_its_includers_are_built(self):
        self.assertEqual(mutants.includers("target/drain/serial_pool.h"), ["target/drain/in_place.cc", "target/drain/serial.cc"])
        self.assertIn("target/drain/serial.cc", mutants.includers("target/span.h"))
        self.assertFalse([header for header in {mutant.file for mutant in mutants.all_mutants() if mutant.file.endswith(".h")}
                          if not mutants.includers(header)])

    def test_the_real_files_give_many_and_each_is_a_change(self):
        made = mutants.all_mutants()
        self.assertGreater(len(made), 500)
        self.assertEqual(len(made), len(set(made)))
        self.assertFalse([mutant for mutant in made if mutant.after.strip() == mutant.before])

    def test_what_is_argued_is_still_there(self):
        made = {key for mutant in mutants.all_mutants() for key in (mutants._key(mutant), (mutant.file, mutant.before, mutants.ANY))}
        self.assertEqual([key for key in mutants.argued() if key not in made], [])

    def test_score(self):
        reasons = mutants.argued()
        made = [mutant for mutant in mutants.all_mutants() if not mutants._is_argued(mutant, reasons)][:4]
        text, score = mutants.summary(list(zip(made, ["corpus A4", "not compiled", "survived", "fuzz E1"])))
        self.assertAlmostEqual(score, 2 / 3)
        self.assertIn("1 do not compile, 2 killed", text[0])
        self.assertIn(f"survived: {made[2].name()}", "\n".join(text))

    def test_a_sample_is_the_same_each_time(self):
        made = mutants.all_mutants()
        self.assertEqual(mutants.sample(made, 10, 3), mutants.sample(made, 10, 3))
        self.assertNotEqual(mutants.sample(made, 10, 3), mutants.sample(made, 10, 4))


if __name__ == "__main__":
    unittest.main()
