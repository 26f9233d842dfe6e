"""Tests of coverage.py: what llvm-cov exports is read right, and an argument holds, or is told to be stale."""

import tempfile
import unittest
from pathlib import Path

import coverage

ENTRY = (True, True, False)    # has a count, begins a region, is no gap
RESUME = (True, False, False)
GAP = (True, False, True)
OUT = (False, True, False)     # compiled out
END = (False, False, False)


def segments(*rows):
    return [[line, column, count, *kind] for line, column, count, kind in rows]


def export(name, counts=(), branches=(), decisions=()):
    """An export of one file: lines with these counts from line 1 on, each a region of its own."""
    rows = [row for line, count in enumerate(counts, 1) for row in
            ([[line, 1, count, *ENTRY], [line, 90, 0, *END]] if count is not None else [[line, 1, 0, *END]])]
    return {"data": [{"files": [{"filename": str(name), "segments": rows, "branches": [[*b, 0, 0, 4] for b in branches],
                                 "mcdc_records": [[*d[:4], 0, 5, d[4]] for d in decisions]}]}]}


def judged(text, counts, branches=(), decisions=()):
    path = Path("/x/a.cc")
    files = {}
    coverage.add_export(files, export(path, counts, branches, decisions), {path})
    return coverage.Judge("a.cc", text, files[path]).run()


class Share(unittest.TestCase):
    def test_what_is_argued_does_not_count(self):
        report = judged("f();\n// not reached by seeds: so it is\ng();\nh();\ni();", [1, None, 0, 1, 0])
        self.assertAlmostEqual(coverage.share(report), 100 * 2 / 3)

    def test_of_nothing_nothing_is_covered(self):
        self.assertEqual(coverage.share(judged("", [])), 0)


class Export(unittest.TestCase):
    def test_a_line_has_the_most_of_its_regions(self):
        counts, _ = coverage.line_counts(segments((1, 20, 5, ENTRY), (2, 10, 2, ENTRY), (2, 20, 5, RESUME), (4, 2, 0, END)))
        self.assertEqual(counts, {1: 5, 2: 5, 3: 5, 4: 5})

    def test_a_region_of_its_own_is_not_its_surroundings(self):
        counts, _ = coverage.line_counts(segments((1, 20, 5, ENTRY), (1, 30, 0, GAP), (2, 5, 0, ENTRY), (2, 30, 5, RESUME), (3, 2, 0, END)))
        self.assertEqual(counts[2], 0)
        self.assertEqual(counts[3], 5)

    def test_behind_a_gap_the_line_is_what_goes_on_there(self):
        counts, _ = coverage.line_counts(segments((1, 20, 5, ENTRY), (2, 30, 0, GAP), (3, 5, 5, RESUME), (4, 2, 0, END)))
        self.assertEqual(counts[3], 5)

    def test_what_is_compiled_out_is_no_line(self):
        counts, left_out = coverage.line_counts(segments((1, 20, 0, ENTRY), (2, 1, 0, OUT), (4, 6, 0, RESUME), (6, 2, 0, END)))
        self.assertEqual((set(counts), left_out), ({1, 5, 6}, {2, 3, 4}))

    def test_instances_and_binaries_are_summed(self):
        path, files = Path("/x/a.cc"), {}
        for line, branch, decides in ((3, [1, 1, 1, 9, 0, 3], [True, False]), (2, [1, 1, 1, 9, 4, 0], [False, True])):
            one = export(path, [line], [branch, branch], [(1, 1, 1, 9, decides)])
            coverage.add_export(files, one, {path})
        self.assertEqual(files[path].lines, {1: 5})
        self.assertEqual(files[path].branches, {(1, 1, 1, 9): [8, 6]})
        self.assertEqual(files[path].decisions, {(1, 1, 1, 9): [True, True]})

    def test_files_that_are_not_wanted_are_left_out(self):
        files = {}
        coverage.add_export(files, export("/x/a_test.cc", [1]), {Path("/x/a.cc")})
        self.assertEqual(files, {})


class Uncovered(unittest.TestCase):
    def test_a_line_and_a_way_of_a_branch_are_told(self):
        report = judged("f();\nif (a) g();", [0, 7], [[2, 5, 2, 6, 0, 7]])
        self.assertEqual([(row["line"], row["what"], row["text"]) for row in report.uncovered],
                         [(1, "line", "f();"), (2, "never true", "a")])
        self.assertEqual((report.lines, report.lines_covered, report.branches, report.branches_covered), (2, 1, 2, 1))
        self.assertEqual(coverage.problems([report]), ["a.cc:1: line: f();", "a.cc:2: never true: a"])

    def test_all_covered_is_no_problem(self):
        report = judged("f();\nif (a) g();", [1, 7], [[2, 5, 2, 6, 3, 4]], [(2, 5, 2, 6, [True])])
        self.assertEqual(coverage.problems([report]), [])
        self.assertIn("2 of 2", coverage.as_text([report]))
        self.assertEqual(coverage.as_json([report])["totals"]["conditions_covered"], 1)

    def test_columns_count_bytes(self):
        report = judged('x("…", a && b);', [1], [[1, 10, 1, 11, 1, 0]])
        self.assertEqual(report.uncovered[0]["text"], "a")

    def test_brackets_directives_and_macros_do_not_count(self):
        report = judged("#define F(x) \\\n  if (!x) { \\\n    abort(); \\\n  }\nint g() {\n}\n#endif", [0] * 7)
        self.assertEqual([row["line"] for row in report.uncovered], [5])


class Planted(unittest.TestCase):
    def test_what_a_planted_defect_guards_does_not_count(self):
        text = """if (planted(Defect::kA)) {
  f();
} else {
  g();
}
if (const int b = c();
    planted(Defect::kB) && b) {
  h();
}
if (planted(Defect::kC))
  i();
j();"""
        report = judged(text, [1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1], [[1, 5, 1, 24, 0, 0], [2, 3, 2, 4, 0, 0], [7, 28, 7, 29, 0, 0]])
        self.assertEqual(report.uncovered, [])
        self.assertEqual(report.branches, 0)

    def test_what_others_reach_too_counts(self):
        for condition in ("!planted(Defect::kA)", "a || planted(Defect::kA)"):
            report = judged(f"if ({condition}) {{\n  f();\n}}", [1, 0, 1])
            self.assertEqual([row["line"] for row in report.uncovered], [2], condition)

    def test_a_branch_beside_it_counts_when_it_was_asked(self):
        report = judged("if (a && !planted(Defect::kA)) f();", [3], [[1, 5, 1, 6, 0, 3], [1, 10, 1, 30, 0, 0]])
        self.assertEqual([row["what"] for row in report.uncovered], ["never true"])

    def test_with_one_condition_left_there_is_no_decision(self):
        report = judged("if (a && !planted(Defect::kA)) f();", [3], (), [(1, 5, 1, 30, [False, False])])
        self.assertEqual(report.conditions, 0)


class Arguments(unittest.TestCase):
    WHY = "// not reached by programs: no reason"

    def test_above_a_statement(self):
        report = judged(f"{self.WHY}\nif (a ||\n    b) {{\n  f();\n}}\ng();", [None, 1, 1, 0, 0, 1],
                        [[2, 5, 2, 6, 0, 1], [3, 5, 3, 6, 0, 1]], [(2, 5, 3, 6, [False, False])])
        self.assertEqual(coverage.problems([report]), [])
        self.assertEqual((report.lines_argued, report.branches_argued, report.conditions_argued), (1, 2, 2))
        self.assertEqual(report.arguments, [{"line": 1, "why": "no reason", "covers": 3}])

    def test_it_ends_with_the_statement(self):
        report = judged(f"{self.WHY}\nf(a,\n  b);\ng();", [None, 0, 0, 0])
        self.assertEqual([row["line"] for row in report.uncovered], [4])

    def test_above_a_function(self):
        function = "int f() {\n  if (a) {\n    g();\n  }\n  h('}', \"}\");  // }\n  return j;\n}"
        report = judged(f"{self.WHY}\n{function}\nint i() {{", [None] + [0] * 8)
        self.assertEqual([row["line"] for row in report.uncovered], [9])

    def test_behind_a_line_it_is_about_that_line(self):
        report = judged(f"switch (a) {{  {self.WHY}\n  f();\n}}", [1, 0, 1], [[1, 9, 1, 10, 0, 3]])
        self.assertEqual([row["line"] for row in report.uncovered], [2])
        self.assertEqual(report.branches_argued, 1)

    def test_of_what_is_reached_is_stale(self):
        report = judged(f"{self.WHY}\nf();", [None, 1])
        self.assertEqual(report.arguments, [])
        self.assertEqual(len(coverage.problems([report])), 1)
        self.assertIn("a.cc:1: stale argument (no reason): all of it is reached", coverage.problems([report])[0])

    def test_with_something_reached_inside_is_stale(self):
        report = judged(f"{self.WHY}\nif (a) {{\n  f();\n  if (b) {{\n    g();\n  }}\n}}", [None, 1, 1, 1, 0, 0, 0])
        self.assertIn("line 3 is reached: f();", coverage.problems([report])[0])

    def test_inside_another_is_stale(self):
        report = judged(f"{self.WHY}\nif (a) {{\n  {self.WHY} at all\n  f();\n}}", [None, 1, None, 0, 0], [[2, 5, 2, 6, 0, 1]])
        self.assertEqual(coverage.problems([report]), [])  # the inner one argues its line, the outer one the branch
        report = judged(f"{self.WHY}\nif (a) {{\n  {self.WHY} at all\n  f();\n}}", [None, 1, None, 0, 0])
        self.assertEqual([row["line"] for row in report.stale], [1])

    def test_in_a_file_without_counts_is_stale(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "target.h")
            path.write_text(f"{self.WHY}\nint a;\n", encoding="utf-8")
            reports = coverage.judge({path: coverage.Counts()}, Path(folder))
        self.assertEqual(len(coverage.problems(reports)), 1)

    def test_mistakes(self):
        for text, word in (("// not reached by programs:\nf();", "a reason"), (f"f();\n{self.WHY}\n", "no code behind it")):
            with self.assertRaisesRegex(coverage.Mistake, f"a.cc:[12]: .*{word}"):
                judged(text, [1, 1])


class Files(unittest.TestCase):
    def test_tests_are_not_measured(self):
        names = {path.name for path in coverage.sources(Path(__file__).resolve().parent.parent)}
        self.assertIn("page_heap.cc", names)
        self.assertIn("bitmap.cc", names)
        self.assertFalse([name for name in names if "_test" in name or name == "testing.h"])


if __name__ == "__main__":
    unittest.main()
