"""The oracle's mutation score: small changes to target, one at a time; who notices?

Each mutant is one changed source file, compiled with ASan and linked before the libraries that hold the rest, and given to
mutant_runner: every program of the corpus under every sound policy and against each other, and page_heap_fuzzer's inputs;
then some seconds of fuzzing. Of a changed header it is every source of target that includes it, as one; who looks at
target from outside keeps the header that it was built with.
A mutant is killed by an invariant, by the pool's own assertion, by a sanitizer, a signal or a loop that does not end.

What is not mutated: declarations, assertions, planted defects, yield points and marks on shared data (they are checks, or
compiled out), what only counts for statistics or asks for memory ahead, and headers that hold tables, interfaces or what the system gives (HEADERS_ASIDE).
Nor is what tells a walk to the checker: that is the oracle's own eye. A dropped lock or a weaker memory order can't be seen
by one thread: those are for ThreadSanitizer and Relacy and are not made. Survivors that behave as the original does are
argued in mutants.csv, by their text and not by their line, so that the argument outlives edits.
"""

import concurrent.futures
import csv
import os
import random
import re
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ARGUED = ROOT / "fuzz/mutants.csv"
ANY = "any"  # the argument holds whatever is changed in that line

# What one change is: a name, what it is made of, what it becomes. Of each match on a line one mutant is made.
SWAPS = [
    ("less to less-or-equal", r" < ", " <= "), ("less-or-equal to less", r" <= ", " < "),
    ("more to more-or-equal", r" > ", " >= "), ("more-or-equal to more", r" >= ", " > "),
    ("equal to unequal", r" == ", " != "), ("unequal to equal", r" != ", " == "),
    ("and to or", r" && ", " || "), ("or to and", r" \|\| ", " && "),
    ("plus to minus", r" \+ ", " - "), ("minus to plus", r" - ", " + "),
    ("add to subtract", r" \+= ", " -= "), ("subtract to add", r" -= ", " += "),
    ("or-in to and-in", r" \|= ", " &= "), ("and-in to or-in", r" &= ", " |= "),
    ("fetch_add to fetch_sub", r"\.fetch_add\(", ".fetch_sub("), ("fetch_sub to fetch_add", r"\.fetch_sub\(", ".fetch_add("),
    ("true to false", r"\btrue\b", "false"), ("false to true", r"\bfalse\b", "true"),
    ("one off", r"(?<=[\w)\]] [+\-*] )1\b(?!\.)", "2"), ("zero to one", r"(?<== )0(?=[;,)])", "1"),
    ("condition negated", r"\bif \((?!const|Span\*|uint|size_t|StackCache)(.*)\) (?=\{|return|break|continue|\w)", r"if (!(\1)) "),
    ("loop not entered", r"\bwhile \((.*)\) (?=\{|\w)", r"while (false && (\1)) "),
    ("swapped arguments", r"(?<=\()(\w+), (\w+)(?=\);)", r"\2, \1"),
]
STATEMENT = re.compile(r"^\s+(?!\s)(?!return|if|for|while|else|case|break|continue|using|const|auto|static|struct|delete|switch|do\b"
                       r"|MutexLock|[A-Z]\w*[&*]? \w+[ ;={(]|uint\w+_t \w|size_t \w|bool \w|int \w|std::\w+(<[^>]*>)? \w+[ ;=])"
                       r"[^{}]*;\s*(//.*)?$")
SKIPPED = re.compile(r"^\s*(//|#|static_assert|template|STACKDRAIN_CHECK|constexpr|inline constexpr)|planted\(|yield_point\(|yield_and"
                     r"|tell_drain|_locks_|locks_taken|count_locks|asan_enabled|memory_order|MutexLock|SD_|operator=|= default"
                     r"|shared_read\(|shared_write\(|__builtin_prefetch|\bfetch\(|madvise|= delete|\block_all|lock\(\)|hidden|walk|Visitor|fault\(")
# What is only for the thread-safety analysis, on a line of code.
ANNOTATION = re.compile(r" SD_(REQUIRES|EXCLUDES|NO_ANALYSIS)(\([^)]*\))?(?=.*\{)")


# A function that tells a walk, or the block of a planted defect: up to its closing brace. So is what only planted defects
# reach, by the comment before it.
LEFT_OUT = re.compile(r"(  )?\w.*\b(walk\w*|tell_hidden|view_of|digest)\(.*\{$|.*planted\(.*\) \{$")
PLANTED_ALONE = re.compile(r"// not reached by programs: (the )?planted defects?( Q\d+( and Q\d+)?)? alone")

# Tables, interfaces, checks, and what asks the system for memory.
HEADERS_ASIDE = {"testing.h", "defects.h", "policies.h", "policy_list.h", "mutex.h", "yield.h", "any_pool.h", "params.h", "base.h",
                 "arena.h", "atomics.h", "shared.h"}
SOURCES_ASIDE = {"policies.cc", "arena.cc"}


class Mutant(NamedTuple):
    file: str
    line: int
    what: str
    before: str
    after: str

    def name(self):
        return f"{self.file}:{self.line}: {self.what}"


def in_target(ending):
    """Target's files with that ending, without tests."""
    found = [path for folder in ("target", "target/drain") for path in ROOT.glob(f"{folder}/*{ending}")]
    return sorted(path for path in found if not path.stem.endswith("_test"))


def sources():
    """What is mutated: target's code, without tests and tables."""
    return [path for path in in_target(".cc") if path.name not in SOURCES_ASIDE] + [
        path for path in in_target(".h") if path.name not in HEADERS_ASIDE]


def includers(header):
    """The sources of target that include a header, themselves or through others; as they are named in an #include."""
    included = {name_of(path): set(re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE))
                for ending in (".cc", ".h") for path in in_target(ending)}
    reached, more = {header}, {header}
    while more:
        more = {name for name, names in included.items() if names & more} - reached
        reached |= more
    return sorted(name for name in reached if name.endswith(".cc"))


def name_of(path):
    return str(path.relative_to(ROOT))


def mutants_of_line(file, number, line):
    """The mutants of one line of code."""
    stripped = line.split("//")[0].rstrip()
    code = ANNOTATION.sub("", re.sub(r", std::memory_order_\w+", "", line))
    if SKIPPED.search(code) or not re.match(r"^ {2,}\S", stripped):
        return []
    found = []
    for what, pattern, text in SWAPS:
        for match in re.finditer(pattern, stripped):
            after = stripped[:match.start()] + match.expand(text) + stripped[match.end():]
            if after != stripped:
                found.append(Mutant(file, number, what, stripped.strip(), after))
    if STATEMENT.match(line):
        found.append(Mutant(file, number, "statement deleted", stripped.strip(), re.match(r"\s*", line)[0] + ";"))
    return found


def all_mutants():
    return [mutant for path in sources() for mutant in mutants_of(name_of(path), path.read_text(encoding="utf-8").splitlines())]


def mutants_of(file, lines):
    made = []
    open_statement, left_out, before, in_class = False, None, "", False
    for number, line in enumerate(lines, 1):
        indent = len(line) - len(line.lstrip())
        for_planted = PLANTED_ALONE.search(line) or PLANTED_ALONE.match(before.lstrip())
        if left_out is None and (LEFT_OUT.match(line) or (for_planted and line.endswith("{"))):
            left_out = indent
        elif left_out is not None and line.lstrip().startswith("}") and indent <= left_out:
            left_out = None
        before = line
        if re.match(r"\w.*\{$", line):
            in_class = re.match(r"(class|struct|union|enum|namespace)\b", line)
        if left_out is not None or for_planted or (in_class and is_declaration(lines, number)):
            continue
        # A statement over several lines is left whole: deleting its end would change its meaning, not remove it.
        mutants = mutants_of_line(file, number, line)
        made += [mutant for mutant in mutants if mutant.what != "statement deleted" or not open_statement]
        code = line.split("//")[0].rstrip()
        open_statement = bool(code) and code[-1] not in ";{}:" and not code.lstrip().startswith("#")
    return made


def is_declaration(lines, number):
    """Whether a line of a class's or struct's own, at whatever depth, only declares: it is neither in a function nor one."""
    line = lines[number - 1]
    depth = len(line) - len(line.lstrip())
    if line.rstrip().endswith(("{", "}")) and "(" in line:
        return False  # a function, or its head
    # Inside a function its head is above, less deep: the first line of less depth says which of the two it is.
    above = next((other for other in reversed(lines[:number - 1]) if other.strip() and len(other) - len(other.lstrip()) < depth
                  and not other.lstrip().startswith(("//", "#", "public:", "private:", "protected:"))), "")
    return re.match(r"\s*(template <.*> )?(class|struct|union|enum)\b", above) is not None


class Build(NamedTuple):
    """How a mutant is built and run."""
    libraries: Path  # the build folder with the rest, with ASan
    seconds: float  # of fuzzing
    programs: list
    headers: Path  # what the sources include, precompiled: most of a compilation otherwise
    system_headers: Path  # of that what is not ours


# A mutant is compiled once and runs for a moment: optimising it would take longer than that. Of UBSan, which every build
# with ASan has, a shift by too many bits: processors make something harmless of that.
FLAGS = ["-std=c++20", "-O0", "-fsanitize=address,shift-exponent", "-fsanitize-trap=shift-exponent", "-DSTACKDRAIN_YIELDS=1", "-DSTACKDRAIN_DEFECTS=1", "-D_GLIBCXX_ASSERTIONS", "-w"]


def link(build, objects, out):
    libraries = [build.libraries / name for name in ("fuzz/libstackdrain_explore.a", "fuzz/libstackdrain_machine.a", "fuzz/libstackdrain_program.a",
                                                     "target/libstackdrain_target.a")]
    return subprocess.run(["clang++-19", "-fuse-ld=lld", "-fsanitize=address", "-fsanitize=undefined", *objects, *libraries, *libraries,
                           "-lpthread", "-o", out], capture_output=True, text=True, check=False)


def compile_one(source, out, *flags, first=None):
    folders = [f"-I{folder}" for folder in (first, ROOT) if folder is not None]
    return subprocess.run(["clang++-19", *FLAGS, *folders, *flags, "-c", source, "-o", out], capture_output=True, text=True, check=False)


def precompile(folder, name, ours):
    """The headers that the sources include, as one precompiled one; with or without our own."""
    lines = {line for ending in (".cc", ".h") for path in in_target(ending) for line in path.read_text(encoding="utf-8").splitlines()
             if line.startswith('#include "' if ours else "#include <") or (ours and line.startswith("#include <"))}
    header = Path(folder) / f"{name}.h"
    header.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    made = subprocess.run(["clang++-19", *FLAGS, f"-I{ROOT}", "-x", "c++-header", header, "-o", header.with_suffix(".pch")],
                          capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise RuntimeError(f"the headers of target do not compile: {made.stderr}")
    return header.with_suffix(".pch")


def unchanged(file):
    """A mutant of a file that changes nothing: built as its others are, it must survive."""
    first = (ROOT / file).read_text(encoding="utf-8").splitlines()[0]
    return Mutant(file, 1, "nothing", first, first)


def fate(build, runner, mutant):
    """"not compiled", "survived", or by what it was killed."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / mutant.file
        changed.parent.mkdir(parents=True)
        lines = (ROOT / mutant.file).read_text(encoding="utf-8").splitlines()
        lines[mutant.line - 1] = mutant.after
        changed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        one, program = Path(folder) / "mutant.o", Path(folder) / "mutant"
        if mutant.file.endswith(".h"):
            whole = Path(folder) / "includers.cc"
            whole.write_text("".join(f'#include "{name}"\n' for name in includers(mutant.file)), encoding="utf-8")
            compiled = compile_one(whole, one, "-include-pch", build.system_headers, first=folder)
        else:
            compiled = compile_one(changed, one, "-include-pch", build.headers)
        if "has been modified since the precompiled header" in compiled.stderr:
            raise RuntimeError("target changed while its mutants were built; run this again")
        if compiled.returncode != 0:
            return "not compiled"
        linked = link(build, [one, *runner], program)  # of an inline function the first one counts
        if linked.returncode != 0:
            raise RuntimeError(f"{mutant.name()} does not link: {linked.stderr}")
        return killed_by(build, program)


# Signals of the runner's clock: a program that takes this long takes for ever.
CLOCK = {-signal.SIGVTALRM, 128 + signal.SIGVTALRM}
WAITS = 4  # mutant_runner's own word for a lock that nobody gives back


def killed_by(build, program):
    environment = os.environ | {"ASAN_OPTIONS": "symbolize=0:detect_leaks=0"}
    ran = subprocess.run([program, str(build.seconds), *build.programs], capture_output=True, env=environment, check=False)
    if ran.returncode == 0:
        return "survived"
    said = ran.stdout.decode(errors="replace").split()
    if ran.returncode == 1 and len(said) == 2:
        return " ".join(said)
    by_itself = re.search(rb"page_heap_fuzzer: violates (\w+)", ran.stderr)
    if by_itself:
        return f"page heap {by_itself[1].decode()}"
    if ran.returncode in CLOCK or ran.returncode == WAITS:
        return "no end"
    return "assertion" if ran.returncode == 3 else "sanitizer or signal"


def argued():
    """(file, source text, change or ANY) -> why nobody can tell."""
    if not ARGUED.exists():
        return {}
    with open(ARGUED, newline="", encoding="utf-8") as file:
        return {(row["file"], row["line"], row["change"]): row["why"] for row in csv.DictReader(file)}


def run(libraries, seconds, programs, chosen, jobs, progress):
    """Each chosen mutant's fate, in order; a folder's worth of objects is made and thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        runner = [Path(folder) / f"{name}.o" for name in ("mutant_runner", "page_heap_fuzzer", "harness")]
        for one in runner:
            compiled = compile_one(ROOT / "fuzz" / f"{one.stem}.cc", one, "-O1")
            if compiled.returncode != 0:
                raise RuntimeError(f"{one.stem}.cc does not compile: {compiled.stderr}")
        build = Build(Path(libraries), seconds, [str(program) for program in programs], precompile(folder, "all", True),
                      precompile(folder, "system", False))
        original = Path(folder) / "original"
        linked = link(build, runner, original)
        if linked.returncode != 0:
            raise RuntimeError(f"the runner does not link: {linked.stderr}")
        verdict = killed_by(build._replace(seconds=1), original)
        if verdict != "survived":
            raise RuntimeError(f"the unchanged target is reported ({verdict}): mend that first")
        rows = []
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for file, verdict in [(file, pool.submit(fate, build._replace(seconds=0), runner, unchanged(file)))
                                  for file in dict.fromkeys(mutant.file for mutant in chosen)]:
                if verdict.result() != "survived":
                    raise RuntimeError(f"{file}, unchanged and built as its mutants are, is reported ({verdict.result()}): mend that first")
            running = {pool.submit(fate, build, runner, mutant): mutant for mutant in chosen}
            try:
                for done in concurrent.futures.as_completed(running):
                    rows.append((running[done], done.result()))
                    progress(len(rows), len(chosen), sum(what == "survived" for _, what in rows))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
    order = {mutant: i for i, mutant in enumerate(chosen)}
    return sorted(rows, key=lambda row: order[row[0]])


def sample(mutants, count, seed):
    return mutants if count is None or count >= len(mutants) else sorted(random.Random(seed).sample(mutants, count))


def summary(rows):
    """(lines to print, score): what killed how many, and who survived."""
    reasons = argued()
    made = [(mutant, what) for mutant, what in rows if what != "not compiled"]
    equivalent = [mutant for mutant, what in made if what == "survived" and _is_argued(mutant, reasons)]
    survived = [mutant for mutant, what in made if what == "survived" and not _is_argued(mutant, reasons)]
    killed = len(made) - len(equivalent) - len(survived)
    score = killed / max(1, len(made) - len(equivalent))
    by = {}
    for _, what in made:
        if what != "survived":
            by[what] = by.get(what, 0) + 1
    text = [f"{len(rows)} mutants: {len(rows) - len(made)} do not compile, {killed} killed, {len(equivalent)} argued the same, "
            f"{len(survived)} survived: score {100 * score:.1f} %",
            "killed by: " + ", ".join(f"{what} {count}" for what, count in sorted(by.items(), key=lambda row: -row[1]))]
    for mutant in survived:
        text += [f"survived: {mutant.name()}", f"    - {mutant.before}", f"    + {mutant.after.strip()}"]
    return text, score


def _key(mutant):
    return (mutant.file, mutant.before, mutant.what)


def _is_argued(mutant, reasons):
    return _key(mutant) in reasons or (mutant.file, mutant.before, ANY) in reasons
