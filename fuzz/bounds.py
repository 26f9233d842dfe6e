"""What one input may cost: no input of a mebibyte costs a harness more work or memory than a bound, by its own caps.

Work is counted in instructions, on the build that has source coverage and no sanitizer, against those of an empty input: a time
would be the machine's. Memory is the most that was resident.
"""

import os
import random
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MEBIBYTE = 1 << 20
MOST_INSTRUCTIONS = 100_000_000  # 0.1 s at one a nanosecond
MOST_BYTES = 64 * MEBIBYTE


def large_inputs(seeds, folder):
    """A mebibyte of noise, and the seeds over and over: a harness's own operations."""
    noise, again = Path(folder) / "noise", Path(folder) / "seeds-again-and-again"
    noise.write_bytes(random.Random(1).randbytes(MEBIBYTE))
    row = b"".join(path.read_bytes() for path in sorted(seeds))
    again.write_bytes((row * (MEBIBYTE // len(row) + 1))[:MEBIBYTE])
    return [noise, again]


def instructions(binary, path, folder):
    ran = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/{binary.name}-{path.name}.out", binary, path], cwd=folder,
                         env=os.environ | {"LLVM_PROFILE_FILE": "/dev/null"}, capture_output=True, text=True, errors="replace", check=False)
    counted = re.search(r"Collected : (\d+)", ran.stderr)
    if ran.returncode != 0 or counted is None:
        raise RuntimeError(f"{binary.name} {path.name} ended with {ran.returncode} under valgrind: {ran.stderr[-300:]}")
    return int(counted[1])


def resident(binary, path, folder):
    """The most bytes that were resident, as the kernel counted them for this one process."""
    process = subprocess.Popen([binary, path], cwd=folder, env=os.environ | {"LLVM_PROFILE_FILE": "/dev/null"}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{binary.name} {path.name} ended with {process.returncode}")
    return usage.ru_maxrss * 1024


def costs(binary, seeds):
    """{input: (instructions, bytes)} beyond those of an empty input."""
    with tempfile.TemporaryDirectory() as folder:
        empty, bare = Path(folder) / "empty", Path(folder) / binary.name
        empty.write_bytes(b"")
        subprocess.run(["strip", "-o", bare, binary], check=True)  # Debian's valgrind does not read clang 19's debug information
        base = instructions(bare, empty, folder), resident(bare, empty, folder)
        return {path.name: (instructions(bare, path, folder) - base[0], resident(bare, path, folder) - base[1])
                for path in large_inputs(seeds, folder)}


def beyond(name, rows):
    problems = [f"{name}: a mebibyte of {what} costs {work:,} instructions, {MOST_INSTRUCTIONS:,} are allowed"
                for what, (work, _) in rows.items() if work > MOST_INSTRUCTIONS]
    return problems + [f"{name}: a mebibyte of {what} costs {size >> 20} MiB, {MOST_BYTES >> 20} are allowed"
                       for what, (_, size) in rows.items() if size > MOST_BYTES]


def check(binaries):
    """A line for each input that costs too much; `binaries`: {path: its seeds as bytes}."""
    with ThreadPoolExecutor(2) as pool:
        rows = pool.map(lambda item: beyond(item[0].name, costs(*item)), binaries.items())
    return [problem for found in rows for problem in found]
