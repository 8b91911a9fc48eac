"""A sweep of a million cells on two processes: time, peak memory, and the speed-up over one process.

    python -m benchmarks.sweep [--repeats 5] [--cells 1000000]

The guest of `benchmarks.batch`, plain precopy over max-bandwidth and downtime-limit. A small sweep before starts the
processes and loads the compiled code. The speed-up compares one process with two, one after the other, on the million
cells and on a quarter of them, where handing out pieces (some 2 ms each) takes a larger share. Memory is that of this
process and its workers together, sampled 20 times a second. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import threading

import numpy as np
import psutil

from benchmarks.batch import DEADLINE_S, guest
from benchmarks.guests import HOST
from benchmarks.timing import median, seconds_of
from migsim.profiles import HostProfile
from migsim.study.sweep.run import Sweep, sweep

SAMPLE_S = 0.05


def square_sweep(cells: int, jobs: int) -> Sweep:
    """Sweep a square grid of about `cells` cells."""
    side = round(cells**0.5)
    return sweep(
        guest(),
        vary={
            "max-bandwidth": np.geomspace(12.5e6, 1.25e9, side).astype(np.int64).tolist(),
            "downtime-limit": np.linspace(10, 10 + 2 * side, side).astype(np.int64).tolist(),
        },
        host=HostProfile.load(HOST),
        jobs=jobs,
        deadline_s=DEADLINE_S,
    )


class PeakMemory(threading.Thread):
    """Peak memory of this process and its children while the block runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0
        self._ended = threading.Event()

    def __enter__(self) -> PeakMemory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        this_process = psutil.Process()
        while not self._ended.wait(SAMPLE_S):
            resident = 0
            for process in (this_process, *this_process.children(recursive=True)):
                try:
                    resident += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.mib = max(self.mib, resident / (1 << 20))


def figures(repeats: int, cells: int = 1_000_000) -> dict[str, float]:
    """Seconds, MiB and speed-up; the million cells are swept once for every two repeats."""
    for jobs in (1, 2):
        square_sweep(10_000, jobs)
    seconds, mib = [], []
    for _ in range(max(repeats // 2, 1)):
        with PeakMemory() as peak:
            seconds.append(seconds_of(lambda: square_sweep(cells, 2)))
        mib.append(peak.mib)
    return {
        "sweep.million_cells.s": round(median("sweep.million_cells.s", seconds), 2),
        "sweep.million_cells.rss_MiB": round(median("sweep.million_cells.rss_MiB", mib)),
        "sweep.two_processes.speedup": _speedup("sweep.two_processes.speedup", cells, repeats),
        "sweep.two_processes.quarter.speedup": _speedup(
            "sweep.two_processes.quarter.speedup", cells // 4, repeats
        ),
    }


def _speedup(name: str, cells: int, repeats: int) -> float:
    gains = []
    for _ in range(repeats):
        one = seconds_of(lambda: square_sweep(cells, 1))
        gains.append(one / seconds_of(lambda: square_sweep(cells, 2)))
    return round(median(name, gains), 2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--cells", type=int, default=1_000_000)
    given = arguments.parse_args()
    print(json.dumps(figures(given.repeats, given.cells), indent=2))


if __name__ == "__main__":
    main()
