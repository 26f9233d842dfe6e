"""OSS-Fuzz's build, without its container: fuzz/oss-fuzz/build.sh with the variables that OSS-Fuzz sets, and then what can be
checked of what came out.

Emulated: the folders ($SRC, $WORK, $OUT, of which $OUT is read-only afterwards), compiler flags by sanitizer, an image that has
libc++ as a static library only, and an engine that brings its own standard library along, hidden, as OSS-Fuzz's does.
For MemorySanitizer the part of libc++ that the harnesses use is compiled again, instrumented.
Not emulated: honggfuzz and Centipede, which Debian does not have; what they link is $LIB_FUZZING_ENGINE, like the others.
"""

import configparser
import filecmp
import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import coverage

ROOT = Path(__file__).resolve().parent.parent
LLVM = Path("/usr/lib/llvm-19/lib")
GCC = Path("/usr/lib/gcc/x86_64-linux-gnu/12")
AFL_DRIVER = "/usr/lib/afl/libAFLDriver.a"
NOBODY = 65534

COMMON = "-O1 -fno-omit-frame-pointer -gline-tables-only -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"
NO_LINK = "-fsanitize=fuzzer-no-link"
FATAL = ("array-bounds,bool,builtin,enum,function,integer-divide-by-zero,null,object-size,return,returns-nonnull-attribute,shift,"
         "signed-integer-overflow,unreachable,vla-bound,vptr")
SANITIZERS = {
    "address": f"-fsanitize=address -fsanitize-address-use-after-scope {NO_LINK}",
    # Unsigned overflow is a signal for the engine there and no error; UBSAN_OPTIONS silences it.
    "undefined": f"-fsanitize={FATAL},unsigned-integer-overflow -fno-sanitize-recover={FATAL} {NO_LINK}",
    "memory": f"-fsanitize=memory -fsanitize-memory-track-origins {NO_LINK}",
    "coverage": "-fprofile-instr-generate -fcoverage-mapping -pthread -Wl,--no-as-needed -Wl,-ldl -Wl,-lm -Wno-unused-command-line-argument",
}
# Calls of a sanitizer's runtime that its build of a harness has at least, by the check that OSS-Fuzz makes of a new build.
CALLS = {"address": ("__asan", 1000), "undefined": ("__ubsan", 168), "memory": ("__msan", 1000)}
MIN_EDGES = 100
# What may be linked dynamically: libc and what belongs to it.
LIBC = {"linux-vdso.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2",
        "ld-linux-x86-64.so.2"}
# The parts that a harness is there for, of whose lines its seed corpus covers more than so many percent: of those that
# no argument beside the code says can't be reached (coverage.py).
PARTS = {"page_heap_fuzzer": ("target/page_heap.cc",), "ops_text_fuzzer": ("fuzz/program.cc",),
         "trace_fuzzer": ("fuzz/trace.cc", "fuzz/replay.cc")}
PART_PERCENT = 95.0
AFL_SECONDS = 4


class Build(NamedTuple):
    engine: str
    sanitizer: str

    def name(self):
        return f"{self.engine} {self.sanitizer}"


BUILDS = [Build("libfuzzer", name) for name in SANITIZERS] + [Build("afl", "address")]


class Broken(Exception):
    """A step without which there is nothing to check."""


def said_by(command, **keywords):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **keywords)


def must(command, **keywords):
    ran = said_by(command, **keywords)
    if ran.returncode != 0:
        lines = (ran.stdout + ran.stderr).splitlines()
        errors = [line for line in lines if "error" in line.lower()]
        raise Broken(f"{Path(str(command[0])).name} ended with {ran.returncode}:\n" + "\n".join(errors[:5] + lines[-5:]))
    return ran.stdout


# ---- the image ----

def make_image(folder, sanitizer):
    """What the base image has and Debian has not: libc++ with no shared library beside it, and libFuzzer with a standard
    library of its own that nobody else can see."""
    lib = folder / "lib"
    lib.mkdir()
    instrumented = ""
    if sanitizer == "memory":
        instrumented = lib / "instrumented.o"
        must(["clang++-19", "-std=c++20", *COMMON.split(), *SANITIZERS["memory"].split(), "-stdlib=libc++", "-c",
              ROOT / "fuzz/oss-fuzz/instrumented_libcxx.cpp", "-o", instrumented])
    (lib / "libc++.a").write_text(f"INPUT({instrumented} {LLVM}/libc++.a {LLVM}/libc++abi.a)\n", encoding="utf-8")
    (lib / "libgcc_s.a").write_text("INPUT(-lgcc_eh)\n", encoding="utf-8")
    archive = LLVM / "clang/19/lib/linux/libclang_rt.fuzzer-x86_64.a"
    whole, engine, kept = lib / "whole.o", lib / "engine.o", lib / "kept"
    must(["ld", "-r", "--force-group-allocation", "-o", whole, "--whole-archive", archive, "--no-whole-archive", GCC / "libstdc++.a"])
    listed = must(["nm", archive])
    names = {line.split()[-1] for line in listed.splitlines() if re.search(r" [TDBRW] ", line)}
    kept.write_text("\n".join(name for name in sorted(names) if not re.match(r"_ZN?K?S|_ZT.St|_ZN9__gnu_cxx", name)), encoding="utf-8")
    must(["objcopy", f"--keep-global-symbols={kept}", whole, engine])
    return lib


def variables(build, folder, image):
    flags = f"{COMMON} {SANITIZERS[build.sanitizer]}"
    own = {"SRC": folder / "src", "WORK": folder / "work", "OUT": folder / "out"}
    if build.engine == "afl":
        # AFL++ instruments by itself, and Debian's is made for an older clang, which has no libc++ here.
        flags = flags.replace(f" {NO_LINK}", "")
        own |= {"CC": "afl-clang-fast", "CXX": "afl-clang-fast++", "CFLAGS": flags, "CXXFLAGS": f"{flags} -static-libstdc++ -static-libgcc",
                "LIB_FUZZING_ENGINE": AFL_DRIVER, "AFL_QUIET": "1"}
    else:
        own |= {"CC": "clang-19", "CXX": "clang++-19", "CFLAGS": flags, "CXXFLAGS": f"{flags} -stdlib=libc++ -L{image}",
                "LIB_FUZZING_ENGINE": image / "engine.o"}
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith(("CCACHE_", "CMAKE_"))}
    return kept | {name: str(value) for name, value in own.items()}


def make(build, folder, image):
    """The content of $OUT, which nobody can write to any more."""
    for name in ("src", "work", "out"):
        (folder / name).mkdir(parents=True)
    (folder / "src/stackdrain").symlink_to(ROOT)
    shutil.copy(ROOT / "fuzz/oss-fuzz/build.sh", folder / "src/build.sh")
    must(["bash", "-eu", folder / "src/build.sh"], cwd=folder / "src/stackdrain", env=variables(build, folder, image))
    shutil.rmtree(folder / "work")
    out = folder / "out"
    for path in out.iterdir():
        path.chmod(path.stat().st_mode & ~0o222)
    out.chmod(0o555)
    return out


# ---- what is beside a harness ----

def check_files(out, fuzzer, seeds):
    """Name, seeds, dictionary and options; `seeds`: how many there are in the corpus."""
    problems = [] if re.fullmatch(r"[A-Za-z0-9_-]+", fuzzer) else ["its name has other characters than A-Z a-z 0-9 _ -"]
    problems += check_zip(out / f"{fuzzer}_seed_corpus.zip", seeds)
    problems += check_options(out / f"{fuzzer}.options")
    return problems + ([] if (out / f"{fuzzer}.dict").is_file() else ["no dictionary"])


def check_zip(path, seeds):
    if not path.is_file():
        return [f"{path.name} is missing"]
    with zipfile.ZipFile(path) as packed:
        bad = packed.testzip()
        files = [info for info in packed.infolist() if not info.is_dir()]
    problems = [f"{path.name}: {bad} is damaged"] if bad else []
    problems += [f"{path.name}: {info.filename} is empty" for info in files if info.file_size == 0]
    return problems + ([] if len(files) == seeds else [f"{path.name}: {len(files)} seeds, {seeds} in the corpus"])


def check_options(path):
    """As ClusterFuzz reads it: sections, and in ours nothing but numbers for libFuzzer."""
    parsed = configparser.ConfigParser()
    try:
        parsed.read_string(path.read_text(encoding="utf-8"))
    except (OSError, configparser.Error) as error:
        return [f"{path.name}: {error}"]
    problems = [f"{path.name}: section [{name}] is none of ours" for name in parsed.sections() if name != "libfuzzer"]
    rows = parsed.items("libfuzzer") if parsed.has_section("libfuzzer") else []
    return problems + ([] if rows else [f"{path.name}: says nothing"]) + [f"{path.name}: {name} = {value} is no number" for name, value in rows
                                                                           if not value.isdigit()]


def options_of(out, fuzzer):
    parsed = configparser.ConfigParser()
    parsed.read(out / f"{fuzzer}.options")
    return [f"-{name}={value}" for name, value in parsed.items("libfuzzer")]


def check_linked(binary):
    linked = {Path(name).name for name in re.findall(r"^\s*(\S+)", must(["ldd", binary]), re.M)}
    return [f"links {name} dynamically" for name in sorted(linked - LIBC)]


def check_calls(binary, sanitizer):
    if sanitizer not in CALLS:
        return []
    name, least = CALLS[sanitizer]
    calls = len(re.findall(rf"call\s+[0-9a-f]+ <{name}", must(["objdump", "-d", "--no-show-raw-insn", binary])))
    return [] if calls >= least else [f"{calls} calls of {name}…, OSS-Fuzz wants {least}: is it compiled with that sanitizer?"]


# ---- running it ----

def as_nobody():
    """Who can't write to a read-only folder: root can."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def run_bare(command, cwd, **environment):
    return said_by(command, cwd=cwd, env=environment, timeout=300, **as_nobody())


def check_starts(out, fuzzer, cwd):
    """Starts with nothing: no seeds, no environment, nothing to write to."""
    ran = run_bare([out / fuzzer, "-runs=4", "-seed=1337", f"-dict={out / fuzzer}.dict", *options_of(out, fuzzer)], cwd)
    if ran.returncode != 0 or "Done 4 runs" not in ran.stderr:
        return [f"does not start in {cwd}: exit code {ran.returncode}\n{ran.stderr[-600:]}"]
    problems = ["an option is none of libFuzzer's: " + line for line in ran.stderr.splitlines() if "unrecognized flag" in line]
    counted = re.search(r"Loaded \d+ module.*\((\d+) inline 8-bit counters\)", ran.stderr)
    if counted and int(counted[1]) <= MIN_EDGES:
        problems.append(f"{counted[1]} edges, OSS-Fuzz wants more than {MIN_EDGES}")
    return problems


def check_instrumented(out, fuzzer):
    ran = run_bare([out / fuzzer, "-runs=1"], "/")
    return [] if "inline 8-bit counters" in ran.stderr else ["has no coverage for the engine in it"]


def check_seeds(out, fuzzer, seeds):
    """Each seed is clean, and what they cover together is the same in whatever order they are run."""
    covered = set()
    for seed in (1, 2, 3):
        ran = run_bare([out / fuzzer, "-runs=0", f"-seed={seed}", "-shuffle=1", "-prefer_small=0", *options_of(out, fuzzer), seeds], "/",
                       UBSAN_OPTIONS="silence_unsigned_overflow=1")
        if ran.returncode != 0:
            return [f"ends with {ran.returncode} on its own seeds:\n{ran.stderr[-1500:]}"]
        covered.update(re.findall(r"INITED cov: (\d+ ft: \d+)", ran.stderr))
    return [] if len(covered) == 1 else [f"what the seeds cover depends on their order: {sorted(covered)}"]


def check_reproduces(out, seeds):
    """A test case's path is all that it takes: the seed race on the known-bad policy ends the same way each time."""
    said = [run_bare([out / "policy_fuzzer", seeds / "seed-race"], cwd, STACKDRAIN_POLICY="immediate") for cwd in (out, "/", out)]
    ends = {(ran.returncode, re.search(r"violates A3[^\n]*|$", ran.stderr)[0]) for ran in said}
    return [] if len(ends) == 1 and all(code and line for code, line in ends) else [f"the seed race ends in {len(ends)} ways: {ends}"]


def unpack(out, fuzzer, folder):
    seeds = folder / "seeds" / fuzzer
    with zipfile.ZipFile(out / f"{fuzzer}_seed_corpus.zip") as packed:
        packed.extractall(seeds)
    return seeds


# ---- AFL++ ----

AFL_ENVIRONMENT = {"AFL_NO_UI": "1", "AFL_SKIP_CPUFREQ": "1", "AFL_NO_AFFINITY": "1", "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
                   "ASAN_OPTIONS": "abort_on_error=1:symbolize=0:detect_leaks=0"}


def check_afl_runs(out, fuzzer, seeds, folder):
    """Persistent, test cases through shared memory, and each input covers the same each time: 100 % stability."""
    findings = folder / "afl" / fuzzer
    findings.parent.mkdir(exist_ok=True)
    ran = said_by(["afl-fuzz", "-i", seeds, "-o", findings, "-V", str(AFL_SECONDS), "-s", "1", "--", out / fuzzer],
                  env=AFL_ENVIRONMENT | {"PATH": os.environ["PATH"]}, cwd=folder)
    said = ran.stdout + ran.stderr
    problems = [f"afl-fuzz does not say '{words}'" for words in ("All set and ready to roll", "ersistent mode binary detected",
                                                                "SHARED MEMORY FUZZING") if words not in said]
    stats = dict(re.findall(r"^(\w+)\s*: (.*)$", (findings / "default/fuzzer_stats").read_text(encoding="utf-8"), re.M)) if (
        findings / "default/fuzzer_stats").exists() else {}
    if stats.get("stability") != "100.00%":
        problems.append(f"stability {stats.get('stability', 'unknown')}")
    if int(stats.get("saved_crashes", 0)) or int(stats.get("saved_hangs", 0)):
        problems.append(f"{stats['saved_crashes']} crashes, {stats['saved_hangs']} hangs")
    return problems + ([said[-800:]] if problems else [])


def check_afl_order(out, fuzzer, seeds, folder):
    """What each seed covers, by itself, is the same whatever ran before it in the process."""
    def maps(reverse):
        order = folder / "order" / fuzzer / ("last-first" if reverse else "first-last")
        (order / "in").mkdir(parents=True)
        for number, seed in enumerate(sorted(seeds.iterdir(), reverse=reverse)):
            shutil.copy(seed, order / "in" / f"{number:04}-{seed.name}")
        must(["afl-showmap", "-q", "-r", "-i", order / "in", "-o", order / "out", "--", out / fuzzer],
             env=AFL_ENVIRONMENT | {"PATH": os.environ["PATH"]}, cwd=folder)
        return {path.name[5:]: path for path in (order / "out").iterdir()}

    one, other = maps(False), maps(True)
    if one.keys() != {path.name for path in seeds.iterdir()} or one.keys() != other.keys():
        return [f"afl-showmap ran {len(one)} and {len(other)} seeds of {len(list(seeds.iterdir()))}"]
    moved = [name for name in one if not filecmp.cmp(one[name], other[name], shallow=False)]
    return [f"what {name} covers depends on what ran before it" for name in moved[:3]]


# ---- the coverage build ----

def check_coverage(out, fuzzer, seeds, folder):
    """The profile is written where OSS-Fuzz says, and the seeds cover the part that the harness is there for."""
    raw, data = folder / f"{fuzzer}.profraw", folder / f"{fuzzer}.profdata"
    folder.chmod(0o777)
    ran = run_bare([out / fuzzer, *sorted(seeds.iterdir())], "/", LLVM_PROFILE_FILE=str(raw))
    if ran.returncode != 0 or not raw.exists():
        return [f"writes no profile: exit code {ran.returncode}\n{ran.stderr[-600:]}"]
    must(["llvm-profdata-19", "merge", "-sparse", raw, "-o", data])
    parts = PARTS.get(fuzzer, ())
    if not parts:
        return []
    export = json.loads(must(["llvm-cov-19", "export", f"-instr-profile={data}", out / fuzzer]))
    root = folder / "src/stackdrain"  # as the compiler was told
    files = {}
    coverage.add_export(files, export, {root / part for part in parts})
    return [f"{part}: its seeds reach nothing of it" for part in parts if root / part not in files] + [
        f"its seeds cover {coverage.share(report):.1f} % of the lines of {report.name}, want more than {PART_PERCENT:.0f}; first of the others: "
        f"{', '.join(str(row['line']) for row in report.uncovered if row['what'] == 'line')[:60]}"
        for report in coverage.judge(files, root) if coverage.share(report) <= PART_PERCENT]


# ---- all of it ----

def check_fuzzer(build, out, fuzzer, seed_count, folder):
    problems = check_files(out, fuzzer, seed_count) + check_linked(out / fuzzer)
    if problems:
        return problems
    seeds = unpack(out, fuzzer, folder)
    if build.engine == "afl":
        return check_afl_runs(out, fuzzer, seeds, folder) + check_afl_order(out, fuzzer, seeds, folder)
    problems = check_calls(out / fuzzer, build.sanitizer)
    if build.sanitizer == "coverage":
        return problems + check_coverage(out, fuzzer, seeds, folder)
    problems += check_starts(out, fuzzer, out) + check_starts(out, fuzzer, "/")
    problems += check_instrumented(out, fuzzer) + check_seeds(out, fuzzer, seeds)
    if fuzzer == "policy_fuzzer":
        problems += check_reproduces(out, seeds)
    return problems


def check_build(build, seed_counts, base):
    folder = base / build.name().replace(" ", "-")
    try:
        out = make(build, folder, base / "lib")
        have = {path.name for path in out.iterdir() if os.access(path, os.X_OK)}
        if have != set(seed_counts):
            return [f"{build.name()}: $OUT has the harnesses {sorted(have)}, there are {sorted(seed_counts)}"]
        with ThreadPoolExecutor(2) as pool:
            rows = pool.map(lambda fuzzer: check_fuzzer(build, out, fuzzer, seed_counts[fuzzer], folder), seed_counts)
        return [f"{build.name()}: {fuzzer}: {problem}" for fuzzer, found in zip(seed_counts, rows) for problem in found]
    except (Broken, OSError, subprocess.TimeoutExpired) as error:
        return [f"{build.name()}: {error}"]
    finally:
        if folder.is_dir():
            subprocess.run(["chmod", "-R", "u+w", folder], check=False)


def check(seed_counts, build):
    """A line for each thing that is wrong; `seed_counts`: the harnesses, and how many seeds the corpus has for each."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        base.chmod(0o755)
        try:
            make_image(base, build.sanitizer)
        except Broken as error:
            return [str(error)]
        return check_build(build, seed_counts, base)
