"""The scoreboard of planted defects: each is planted, fuzzed for until something reports it, and the trials are counted.

A trial is one process of one harness with one defect, on the first policy that the defect's program in the corpus
names. What it says of itself (harness.h, the canary): after how many inputs and seconds the defect's site was reached,
and after how many there was a report. The report is then explained from its input alone, by the tool, and the
explanation is right if it names an invariant that the table of defects names. And its input is run without the defect: what
is reported then, too, is no finding of the defect but a false alarm of the oracle, or a bug of our own pool.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "reports"))
import survival  # noqa: E402  (beside the report, which uses it too)

DIFFERENTIAL = "differential"  # in the place of a policy: the harness that runs all of them

SCHEDULES = "schedule_fuzzer"  # its inputs are a program and who runs when

FALSE_ALARM = "false alarm"  # in the place of an explanation: the input is reported without the defect, too


class Defect(NamedTuple):
    name: str
    reported_by: frozenset
    policy: str  # where it can be seen
    harness: str = "policy_fuzzer"  # who can see it there


class Setup(NamedTuple):
    """What all trials share."""
    harnesses: Path  # the folder of the fuzzers
    tool: Path
    flags: list  # of the engine
    seeds: dict  # by harness: the folder of encoded inputs to start from; None: from nothing
    seconds: float
    plain: bool  # without the structure-aware mutator
    engine: str = "libfuzzer"  # or afl
    afl_harnesses: Path = None  # the folder of AFL++'s
    afl_mutators: dict = {}  # by harness: the shared library that has that mutator; None: it has none
    harness: str = ""  # whom to ask; empty: whoever can see the defect where the corpus says
    alarms: Path = None  # the folder where inputs are kept that are reported without a defect

    def name(self):
        return f"{self.engine}, plain" if self.plain else self.engine


def defects_of(tool, corpus, policy=None):
    """The table of defects, and where each can be seen by the expectations in the corpus: the first policy that a program
    names; the one that is wanted; or, if that is "all", each: a queue's defects have a site in each queue."""
    listed = subprocess.run([tool, "list", "defects"], capture_output=True, text=True, check=True).stdout
    rows_of_policies = subprocess.run([tool, "list", "policies"], capture_output=True, text=True, check=True).stdout.splitlines()
    controls = {line.split()[0] for line in rows_of_policies if "; not sound]" in line}  # they are reported without it
    policies, unseen = {}, set()
    for program in sorted(Path(corpus).glob("*/*.ops")):
        for name, where, what in re.findall(r"^# expect: defect=(\S+) (\S+) (\S+)", program.read_text(encoding="utf-8"), re.M):
            if what == "pass" and where == "all":
                unseen.add(name)  # by one thread, whatever it does: it wants a schedule
            elif what != "pass" and where not in controls:
                policies.setdefault(name, []).append(where)
    rows = []
    for line in listed.splitlines():
        name, by = line.split()[0], re.search(r"may be reported by ([^)]*)\)", line)[1]
        if name != "none":
            named = policies.get(name, ["serial"])
            everywhere = {"all", "span-records"} & set(named)
            if policy is None:
                wanted = ["serial" if everywhere else named[0]]
            else:
                wanted = [one for one in dict.fromkeys(["serial"] if everywhere else named) if policy in ("all", one)]
            harness = SCHEDULES if name in unseen and name not in policies else "policy_fuzzer"
            rows += [Defect(name, frozenset(by.split()), one, harness) for one in wanted]
    return rows


def afl_environment(mutator, keep_going=False):
    """Of afl-fuzz; what its target says goes to its own output, for the canary."""
    environment = {"AFL_NO_UI": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_NO_AFFINITY": "1", "AFL_DEBUG_CHILD": "1",
                   "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1"}
    return environment | ({} if keep_going else {"AFL_BENCH_UNTIL_CRASH": "1"}) | (
        {"AFL_CUSTOM_MUTATOR_LIBRARY": str(mutator)} if mutator else {})


def afl_command(harness, seeds, out, seed, seconds, flags, more=()):
    """afl-fuzz on a harness; of libFuzzer's flags the longest input is AFL++'s, too."""
    longest = [value for flag in flags for value in re.findall(r"-max_len=(\d+)", flag)]
    return ["afl-fuzz", "-i", seeds, "-o", out, "-s", str(seed), "-V", str(max(1, round(seconds))), *(["-G", longest[0]] if longest else []),
            *more, "--", harness]


class Trial(NamedTuple):
    """What an engine came to."""
    finding: Path  # None: nothing
    said: str  # by the process that found it
    executions: int
    seconds: float
    reached_executions: int
    reached_seconds: float


def canary_of(said):
    match = re.search(r"canary: reached (\d+) (\S+) ended (\d+) (\S+)", said)
    return (int(match[1]), float(match[2]), int(match[3]), float(match[4])) if match else None


def by_libfuzzer(setup, harness, seed, folder, environment):
    command = [setup.harnesses / harness, f"-max_total_time={max(1, round(setup.seconds))}", f"-seed={seed}", *setup.flags,
               "-timeout=25", "-artifact_prefix=./found-"]
    if setup.seeds:
        (folder / "corpus").mkdir()
        command += ["corpus", setup.seeds[harness]]
    begun = time.monotonic()
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    wall = time.monotonic() - begun
    said = ran.stderr.decode(errors="replace")
    found = sorted(folder.glob("found-*"))
    canary = canary_of(said)
    counted = [int(n) for n in re.findall(r"#(\d+)\s", said)]
    reached, reached_seconds, executions, seconds = canary or (0, 0.0, max(counted, default=0), wall)
    return Trial(found[0] if found else None, said, executions, seconds, reached, reached_seconds)


def by_afl(setup, harness, seed, folder, environment):
    """Its own count of executions and time, which a crash's name has; the site's canary counts from the target's start."""
    seeds = setup.seeds and setup.seeds[harness]
    if not seeds:
        seeds = folder / "seeds"
        seeds.mkdir()
        (seeds / "empty").write_bytes(b"\0\0")
    ran = subprocess.run(afl_command(setup.afl_harnesses / harness, seeds, "out", seed, setup.seconds, setup.flags), cwd=folder,
                         env=environment | afl_environment(setup.afl_mutators.get(harness)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         check=False)
    canary = canary_of(ran.stdout.decode(errors="replace"))
    found = sorted(folder.glob("out/default/crashes/id*"))
    stats = folder / "out/default/fuzzer_stats"
    told = dict(re.findall(r"^(\w+)\s*: (\S+)", stats.read_text(encoding="utf-8"), re.M)) if stats.exists() else {}
    executions, seconds, said = int(told.get("execs_done", 0)), float(told.get("run_time", setup.seconds)), ""
    if found:
        at = re.search(r"time:(\d+),execs:(\d+)", found[0].name)
        executions, seconds = (int(at[2]), int(at[1]) / 1000) if at else (executions, seconds)
        said = subprocess.run([setup.harnesses / harness, found[0]], cwd=folder, env=environment, capture_output=True,
                              check=False).stderr.decode(errors="replace")
    elif "dry run" in ran.stdout.decode(errors="replace").lower() and not told:
        raise RuntimeError("afl-fuzz did not start")
    reached = min(canary[0], executions) if canary else 0  # it has counted the driver's own input, too
    return Trial(found[0] if found else None, said, executions, seconds, reached, canary[1] if canary else 0.0)


def trial(setup, defect, seed):
    """One row of the scoreboard."""
    harness = setup.harness or ("differential_fuzzer" if defect.policy == DIFFERENTIAL else defect.harness)
    environment = os.environ | {"STACKDRAIN_DEFECT": defect.name, "ASAN_OPTIONS": "symbolize=0:abort_on_error=1:detect_leaks=0",
                                "STACKDRAIN_POLICY": "" if defect.policy == DIFFERENTIAL else defect.policy}
    if setup.plain:
        environment["STACKDRAIN_PLAIN_MUTATION"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        ended = (by_afl if setup.engine == "afl" else by_libfuzzer)(setup, harness, seed, Path(folder), environment)
        by = reporter(ended.said) if ended.finding else ""
        # A schedule says itself who ran where; the tool explains programs.
        named = (by if harness == SCHEDULES else explained(setup.tool, ended.finding, defect) or by) if ended.finding else ""
        if ended.finding and reported_without(setup, harness, ended.finding, environment):
            named = FALSE_ALARM
            if setup.alarms:
                setup.alarms.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ended.finding, setup.alarms / f"{harness}-{defect.name}-{seed}")
    return {"defect": defect.name, "policy": defect.policy, "engine": setup.name(),
            "corpus": "committed" if setup.seeds else "empty", "seed": seed, "limit": setup.seconds, "reported": ended.finding is not None,
            "by": by, "explained": named, "right": named in defect.reported_by, "executions": ended.executions, "seconds": ended.seconds,
            "reached_executions": ended.reached_executions, "reached_seconds": ended.reached_seconds}


def reported_without(setup, harness, finding, environment):
    """Is the input reported although nothing is planted?"""
    sound = {name: value for name, value in environment.items() if name != "STACKDRAIN_DEFECT"}
    return subprocess.run([setup.harnesses / harness, finding], cwd=finding.parent, env=sound, capture_output=True, check=False).returncode != 0


def reporter(said):
    """What a harness was ended by: an invariant, the pool's own assertion, or a sanitizer: F5 if that says that memory was
    used which is poisoned because no stack lives there."""
    match = re.search(r"violates? ([A-G]\d+)", said, re.I)
    if match:
        return match[1]
    if "the pool's own assertion" in said:
        return "assertion"
    return "F5" if "use-after-poison" in said else "sanitizer"


def explained(tool, path, defect):
    """The invariant that the explanation of an input names; "assertion" if the pool's own ended it; "" if none: without a
    sanitizer it passes."""
    ran = subprocess.run([tool, "explain", path, f"--policy={defect.policy}", f"--defect={defect.name}"], capture_output=True,
                         text=True, errors="replace", check=False)
    match = re.search(r"violates? ([A-G]\d+)", ran.stdout)
    return match[1] if match else "assertion" if "stopped by" in ran.stdout else ""


def run(setup, defects, trials, jobs, progress, seconds=None):
    """All trials, each defect's first before any second, `jobs` at a time; Ctrl-C, or that so many seconds are over, leaves what
    is done."""
    rows, wanted = [], [(defect, seed) for seed in range(1, trials + 1) for defect in defects]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(trial, setup, defect, seed) for defect, seed in wanted]
        try:
            for done in concurrent.futures.as_completed(running, seconds):
                rows.append(done.result())
                progress(len(rows), len(wanted))
        except (KeyboardInterrupt, concurrent.futures.TimeoutError):
            pool.shutdown(wait=False, cancel_futures=True)
    order = {(defect.name, defect.policy): i for i, defect in enumerate(defects)}
    return sorted(rows, key=lambda row: (order[row["defect"], row["policy"]], row["seed"]))


def by_defect(rows):
    grouped = {}
    for row in rows:
        grouped.setdefault(row["defect"], []).append(row)
    return grouped


def by_defect_and_policy(rows):
    grouped = {}
    for row in rows:
        grouped.setdefault((row["defect"], row["policy"]), []).append(row)
    return grouped


def middle(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def trials_of(rows):
    return [survival.Trial(row["seconds"] if row["reported"] else row["limit"], row["reported"]) for row in rows]


def executions_of(rows):
    return [survival.Trial(row["executions"], row["reported"]) for row in rows]


def summary(rows):
    """One line of the table, of one defect's trials."""
    found = [row for row in rows if row["reported"]]
    seconds = [row["seconds"] for row in found]
    executions = [row["executions"] for row in found]
    reached = [row["reached_executions"] for row in rows if row["reached_executions"]]
    return {"defect": rows[0]["defect"], "policy": rows[0]["policy"], "trials": len(rows), "found": len(found),
            "by": sorted({row["by"] for row in found}), "explained": sorted({row["explained"] for row in found}),
            "right": sum(row["right"] for row in found),
            "reached": middle(reached) if reached else None, "executions": middle(executions) if found else None,
            "seconds": middle(seconds) if found else None, "worst": max(seconds) if found else None,
            "mean": survival.restricted_mean(trials_of(rows), rows[0]["limit"])}


def lines(rows):
    """The table as text, and below it what all trials come to."""
    text = [f"{'defect':<30}{'on':<20}{'found':>8}{'reached after':>15}{'reported after':>16}{'median':>9}{'worst':>9}  by, explained as"]
    total = [summary(rows_of) for rows_of in by_defect_and_policy(rows).values()]
    for row in total:
        def number(name, form):
            return "–" if row[name] is None else format(row[name], form)
        by = "/".join(row["by"])
        named = "/".join(row["explained"])
        text.append(f"{row['defect']:<30}{row['policy']:<20}{row['found']:>4}/{row['trials']:<3}{number('reached', ',.0f'):>15}"
                    f"{number('executions', ',.0f'):>16}{number('seconds', '.2f'):>7} s{number('worst', '.2f'):>7} s  {by}"
                    + (f", explained as {named}" if named != by else "")
                    + ("" if row["right"] == row["found"] else f"; {row['found'] - row['right']} wrongly"))
    text += [f"FALSE ALARM: without a defect, too: {row['by']} under {row['policy']}; looking for {row['defect']}, seed {row['seed']}"
             for row in false_alarms(rows)]
    kinds = "defects" if len(by_defect(rows)) == len(total) else "pairs of a defect and a policy"
    missed = [row["defect"] for row in total if row["found"] < row["trials"]]
    slowest = max((row["seconds"] for row in total if row["seconds"] is not None), default=0)
    text.append(f"{len(total) - len(missed)} of {len(total)} {kinds} found in every trial; slowest median {slowest:.2f} s; "
                + (f"missed in some: {', '.join(missed)}" if missed else "none missed"))
    return text


def false_alarms(rows):
    return [row for row in rows if row["explained"] == FALSE_ALARM]


def comparison(old, new):
    """Each defect and policy in both: the restricted means, A12 (how probably the old takes longer) and p, of seconds and of
    executions; of what was not reported it is only known that it takes longer than it was looked for."""
    engines = [" and ".join(sorted({row.get("engine", "?") for row in rows})) for rows in (old, new)]
    text = [f"then: {engines[0]}; now: {engines[1]}",
            f"{'defect':<30}{'then':>9}{'now':>9}{'A12':>7}{'p':>9}{'executions then':>17}{'now':>11}{'A12':>7}{'p':>9}"]
    before, after = by_defect_and_policy(old), by_defect_and_policy(new)
    several = {name for name, rows in by_defect(new).items() if len({row["policy"] for row in rows}) > 1}
    for name, policy in [key for key in after if key in before]:
        rows = before[name, policy], after[name, policy]
        limit = min(one[0]["limit"] for one in rows)
        times, counts = [trials_of(one) for one in rows], [executions_of(one) for one in rows]
        most = max(trial.time for trials in counts for trial in trials)
        of_time, of_counts = survival.compared(*times), survival.compared(*counts)
        text.append(f"{f'{name}, {policy}' if name in several else name:<30}" + "".join(f"{survival.restricted_mean(one, limit):>7.2f} s" for one in times)
                    + f"{of_time[0]:>7.2f}{of_time[1]:>9.4f}"
                    + f"{survival.restricted_mean(counts[0], most):>17,.0f}{survival.restricted_mean(counts[1], most):>11,.0f}"
                    + f"{of_counts[0]:>7.2f}{of_counts[1]:>9.4f}")
    return text


def load(path):
    """The rows of an earlier run; ValueError with one line if it is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = content["defects"]
        if not all({"defect", "seconds", "executions", "reported", "limit"} <= row.keys() for row in rows):
            raise KeyError("a row lacks its figures")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is no scoreboard; want what `stackdrain defects --out FILE` wrote") from error
    return rows


def copy_seeds(seeds, encode, folder):
    """The committed programs as byte inputs in `folder`."""
    if Path(folder).exists():
        shutil.rmtree(folder)
    Path(folder).mkdir(parents=True)
    for seed in seeds:
        encode(seed, Path(folder))
    return Path(folder)
