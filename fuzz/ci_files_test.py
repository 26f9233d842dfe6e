"""Tests of the files that other people's machines read: CI workflows, and what OSS-Fuzz and ClusterFuzzLite take the project by.

No linter of these is in Debian, so this holds them to what matters: they parse, have the keys that their readers know and no
others, ask for the least permissions, name their actions' versions, and every `./stackdrain` command in them is one.
"""

import re
import sys
import unittest
from pathlib import Path

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import the_command  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# What an action takes; an input that it does not know is ignored by it without a word.
STORAGE = {"storage-repo", "storage-repo-branch", "storage-repo-branch-coverage"}
ACTIONS = {
    "actions/checkout@v4": {"fetch-depth", "ref"},
    "actions/upload-pages-artifact@v3": {"name", "path", "retention-days"},
    "actions/deploy-pages@v4": set(),
    "google/clusterfuzzlite/actions/build_fuzzers@v1": {"language", "github-token", "sanitizer", "upload-build", "bad-build-check",
                                                        "keep-unaffected-fuzz-targets"} | STORAGE,
    "google/clusterfuzzlite/actions/run_fuzzers@v1": {"github-token", "fuzz-seconds", "mode", "sanitizer", "parallel-fuzzing",
                                                      "report-unreproducible-crashes", "output-sarif"} | STORAGE,
}
WORKFLOW_KEYS = {"name", "on", "permissions", "concurrency", "env", "jobs"}
JOB_KEYS = {"if", "needs", "runs-on", "container", "timeout-minutes", "concurrency", "strategy", "permissions", "environment", "steps"}
STEP_KEYS = {"name", "uses", "with", "run"}
EVENTS = {"pull_request", "push", "schedule", "workflow_dispatch"}  # not pull_request_target: it has secrets, and runs strangers' code
CONTEXTS = {"github", "matrix", "secrets"}
MAY_WRITE = {"pages", "id-token"}
MODES = {"code-change", "batch", "prune", "coverage"}
SANITIZERS = {"address", "undefined", "memory", "coverage"}


def load(path):
    """BaseLoader leaves `on:` and `true` what they are: text."""
    return yaml.load((ROOT / path).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def problems_of_step(step):
    problems = [f"a step with '{key}'" for key in step.keys() - STEP_KEYS]
    if ("uses" in step) == ("run" in step):
        return problems + ["a step wants either 'uses' or 'run'"]
    if "run" in step:
        return problems + (["an expression in a script: what it expands to is run"] if "${{" in step["run"] else [])
    if step["uses"] not in ACTIONS:
        return problems + [f"action {step['uses']} is not in the table, or names another version"]
    given = step.get("with", {})
    problems += [f"{step['uses']} has no input '{name}'" for name in given.keys() - ACTIONS[step["uses"]]]
    if given.get("mode", "batch") not in MODES:
        problems.append(f"no mode is called {given['mode']}")
    return problems


def problems_of_job(job):
    problems = [f"a job with '{key}'" for key in job.keys() - JOB_KEYS]
    problems += [f"a job without '{key}'" for key in {"runs-on", "timeout-minutes", "steps"} - job.keys()]
    problems += [f"may write {name}" for name, value in job.get("permissions", {}).items() if value == "write" and name not in MAY_WRITE]
    chosen = job.get("strategy", {}).get("matrix", {}).get("sanitizer", [])
    problems += [f"no sanitizer is called {name}" for name in chosen if name not in SANITIZERS]
    return problems + [problem for step in job.get("steps", []) for problem in problems_of_step(step)]


def problems_of_workflow(workflow, text):
    problems = [f"'{key}' at the top" for key in workflow.keys() - WORKFLOW_KEYS]
    problems += [f"event {name}" for name in workflow.get("on", {}) if name not in EVENTS]
    for row in workflow.get("on", {}).get("schedule", []):
        if not re.fullmatch(r"(\S+ ){4}\S+", row["cron"]):
            problems.append(f"cron {row['cron']} has not five fields")
    if workflow.get("permissions") != {"contents": "read"}:
        problems.append("wants more at the top than to read the repository")
    for expression in re.findall(r"\$\{\{(.*?)\}\}", text):
        problems += [f"context {name} in {expression}" for name in re.findall(r"\b(\w+)\.", expression) if name not in CONTEXTS]
    jobs = workflow.get("jobs", {})
    problems += [f"{name} needs {job['needs']}, which is not there" for name, job in jobs.items() if job.get("needs", name) not in jobs]
    crons = {row["cron"] for row in workflow.get("on", {}).get("schedule", [])}
    for name, job in jobs.items():
        problems += [f"{name}: {problem}" for problem in problems_of_job(job)]
        named = re.findall(r"schedule == '([^']*)'", job.get("if", ""))
        problems += [f"{name}: waits for the schedule {cron}, which is not there" for cron in named if cron not in crons]
    return problems


def commands(text):
    return re.findall(r"\./stackdrain ([^\"'\]|\n]+)", text)


class Workflows(unittest.TestCase):
    FILES = sorted(path.relative_to(ROOT) for path in (ROOT / ".github/workflows").glob("*.yml"))

    def test_each_is_what_its_reader_knows(self):
        self.assertGreaterEqual(len(self.FILES), 4)
        for path in self.FILES:
            with self.subTest(path):
                self.assertEqual(problems_of_workflow(load(path), (ROOT / path).read_text(encoding="utf-8")), [])

    def test_every_mode_is_run(self):
        steps = [step for path in self.FILES for job in load(path)["jobs"].values() for step in job["steps"]]
        self.assertEqual({step["with"]["mode"] for step in steps if "mode" in step.get("with", {})}, MODES)

    def test_each_command_is_one(self):
        stackdrain = the_command.load()
        lines = [line for path in [*self.FILES, Path(".gitlab-ci.yml")] for line in commands((ROOT / path).read_text(encoding="utf-8"))]
        self.assertGreaterEqual(len(lines), 6)
        for line in lines:
            with self.subTest(line):
                self.assertEqual(stackdrain.bad_command(line), "")

    def test_what_is_wrong_is_seen(self):
        text = (ROOT / ".github/workflows/fuzz_pull_request.yml").read_text(encoding="utf-8")
        for old, new, words in [("run_fuzzers@v1", "run_fuzzers@main", "another version"),
                                ("contents: read", "contents: write", "more at the top"),
                                ("mode: code-change", "mode: code-changes", "no mode"),
                                ("fuzz-seconds", "fuzz_seconds", "no input"),
                                ("pull_request:", "pull_request_target:", "event"),
                                ("[address, ", "[adress, ", "no sanitizer"),
                                ("timeout-minutes", "timeout_minutes", "without 'timeout-minutes'"),
                                ("secrets.GITHUB_TOKEN", "secret.GITHUB_TOKEN", "context")]:
            with self.subTest(new):
                broken = text.replace(old, new)
                self.assertIn(words, "\n".join(problems_of_workflow(yaml.load(broken, Loader=yaml.BaseLoader), broken)))

    def test_a_script_takes_no_expression(self):
        self.assertIn("expression in a script", problems_of_step({"run": "echo ${{ github.head_ref }}"})[0])


class GitLab(unittest.TestCase):
    def test_jobs(self):
        content = load(".gitlab-ci.yml")
        jobs = {name: job for name, job in content.items() if name not in ("stages", "variables")}
        for name, job in jobs.items():
            base = jobs[job["extends"]] if "extends" in job else {}
            whole = base | job
            with self.subTest(name):
                self.assertLessEqual(whole.keys(), {"extends", "stage", "image", "services", "before_script", "script", "rules", "variables",
                                                    "parallel", "artifacts"})
                if not name.startswith("."):
                    self.assertIn(whole["stage"], content["stages"])
                    self.assertTrue({"image", "script", "rules"} <= whole.keys())
        self.assertEqual(jobs["pages"]["artifacts"]["paths"], ["public"])


class Project(unittest.TestCase):
    """By the rules of OSS-Fuzz's own check of a submission."""
    FILES = ["fuzz/oss-fuzz/project.yaml", "fuzz/oss-fuzz/Dockerfile", "fuzz/oss-fuzz/build.sh", ".clusterfuzzlite/project.yaml",
             ".clusterfuzzlite/Dockerfile", ".clusterfuzzlite/build.sh"]

    def test_each_has_the_licence_at_its_head(self):
        for path in self.FILES:
            head = "\n".join((ROOT / path).read_text(encoding="utf-8").splitlines()[:16])
            self.assertIn("http://www.apache.org/licenses/LICENSE-2.0", head, path)

    def test_project(self):
        project = load("fuzz/oss-fuzz/project.yaml")
        self.assertEqual(project.keys(), {"homepage", "language", "primary_contact", "main_repo", "fuzzing_engines", "sanitizers"})
        self.assertEqual(project["language"], "c++")
        self.assertEqual(set(project["fuzzing_engines"]), {"libfuzzer", "afl", "honggfuzz", "centipede"})
        self.assertEqual(set(project["sanitizers"]), {"address", "undefined", "memory"})
        self.assertRegex(project["primary_contact"], r"^[^@ ]+@[^@ ]+\.[^@ ]+$")
        self.assertEqual(load(".clusterfuzzlite/project.yaml"), {"language": "c++"})

    def test_dockerfiles(self):
        for path in self.FILES:
            if path.endswith("Dockerfile"):
                lines = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
                self.assertEqual(lines[0], "FROM gcr.io/oss-fuzz-base/base-builder", path)
                self.assertLessEqual({line.split()[0] for line in lines}, {"FROM", "RUN", "WORKDIR", "COPY"}, path)

    def test_the_build_uses_what_it_is_given_and_nothing_else(self):
        script = (ROOT / "fuzz/oss-fuzz/build.sh").read_text(encoding="utf-8")
        code = "\n".join(line for line in script.splitlines() if not line.startswith("#"))
        self.assertTrue(script.startswith("#!/bin/bash -eu\n"))
        self.assertNotIn("-fsanitize", code)
        self.assertNotIn("-lFuzzingEngine", code)
        self.assertFalse(re.findall(r"(?:^|[\s=])[\"']?/\w+", code), "an absolute path")
        given = set(re.findall(r"\$\{?([A-Z_]+)", code))
        self.assertLessEqual(given, {"SRC", "WORK", "OUT", "CC", "CXX", "CFLAGS", "CXXFLAGS", "LIB_FUZZING_ENGINE"})


if __name__ == "__main__":
    unittest.main()
