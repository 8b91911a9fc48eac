"""Timing for benchmarks: medians with their spread on stderr, and fresh processes with their peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PROGRAM = """
import json
from pathlib import Path
from benchmarks.{module} import {function}
seconds = {function}({argument!r})
# VmHWM, because the peak of getrusage may be that of the process before it executed this program
kib = int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
print(json.dumps([seconds, kib / 1024]))
"""


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def median(name: str, values: Sequence[float]) -> float:
    """Median of some measurements; it is written to stderr with the smallest and the largest of them."""
    middle = statistics.median(values)
    print(f"{name}: {middle:.4g} ({min(values):.4g} .. {max(values):.4g})", file=sys.stderr)
    return middle


def median_s(name: str, work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call; a first call, which loads and compiles, is not counted."""
    work()
    return median(name, [seconds_of(work) for _ in range(repeats)])


def in_fresh_process(module: str, function: str, argument: str) -> tuple[float, float]:
    """Call a benchmark's function in a fresh process; return its seconds, and the process's peak memory in MiB."""
    program = _PROGRAM.format(module=module, function=function, argument=argument)
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, mib = json.loads(run.stdout)
    return seconds, mib
