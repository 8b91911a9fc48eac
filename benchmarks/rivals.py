"""Batch engine beside its rivals on the same scenarios: SimGrid's live-migration plug-in, and Gudkov's iteration.

    python -m benchmarks.rivals [--repeats 5]

A grid of RAM, bandwidth and dirty rate in which every guest converges, because SimGrid's plug-in loops for ever on one
that does not. SimGrid runs with its default model and the plug-in's own 30 ms of downtime, in the driver
`benchmarks/simgrid/driver.cpp`, which `build_driver` compiles. Gudkov's iteration is that of `validation.rivals`. Each
repeat runs all three, one after the other. The start of Python and of the driver is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

from benchmarks.guests import GIB, precopy
from benchmarks.timing import ROOT, median, seconds_of
from migsim.engine.batch.grid import simulate_grid
from migsim.models.dirty.page_writes import random_fraction
from migsim.workload import Workload, WorkloadClass
from validation.rivals import gudkov
from validation.rivals.interface import RivalInputs

SOURCE = ROOT / "benchmarks" / "simgrid" / "driver.cpp"
DRIVER = ROOT / "build" / "simgrid" / "driver"
RAM_BYTES = (1 * GIB, 4 * GIB, 16 * GIB, 64 * GIB)
DIRTY_BYTES_PER_S = (5_000_000, 20_000_000, 80_000_000, 160_000_000)
SHARES = np.geomspace(0.02, 0.5, 250)
"""Dirty rates as shares of the bandwidth."""
WRITES_PER_PAGE_PER_S = 0.5
DOWNTIME_MS = 300


def build_driver() -> bool:
    """Compile the driver of SimGrid; where that fails, write the reason to stderr and return False."""
    DRIVER.parent.mkdir(parents=True, exist_ok=True)
    try:
        compiled = subprocess.run(
            ["g++", "-O2", "-std=c++17", str(SOURCE), "-lsimgrid", "-o", str(DRIVER)],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        print("SimGrid is left out: g++ is missing (Debian's package g++).", file=sys.stderr)
        return False
    if compiled.returncode:
        reason = compiled.stderr.strip().splitlines()[0] if compiled.stderr.strip() else "g++ failed"
        print(f"SimGrid is left out ({reason}). Debian's package is libsimgrid-dev.", file=sys.stderr)
    return not compiled.returncode


Guest = tuple[Workload, "np.ndarray"]
"""A guest, and the bandwidths at which it is migrated."""


def guests() -> list[Guest]:
    """Make a guest for each RAM size and dirty rate.

    Random writes go to a set whose size makes the dirty rate; the rest of RAM holds data that is never written.
    """
    found = []
    for ram in RAM_BYTES:
        for dirty in DIRTY_BYTES_PER_S:
            hot = round(dirty / 4096 / WRITES_PER_PAGE_PER_S)
            rest = ram // 4096 - hot
            classes = (
                WorkloadClass(pages=hot, writes_per_page_per_s=WRITES_PER_PAGE_PER_S, extents=((0, hot),)),
                WorkloadClass(pages=rest, writes_per_page_per_s=0.0, extents=((hot, rest),)),
            )
            workload = Workload(ram_bytes=ram, ram_total_bytes=ram, zero_pages=0, classes=classes)
            found.append((workload, (dirty / SHARES).astype(np.int64)))
    return found


def simgrid_s(grid: list[Guest]) -> float:
    """Seconds that SimGrid takes for the grid, by its driver's own clock."""
    rows = [
        f"{workload.ram_bytes} {bandwidth} {share}"
        for workload, bandwidths in grid
        for bandwidth, share in zip(bandwidths, SHARES, strict=True)
    ]
    run = subprocess.run([str(DRIVER)], input="\n".join(rows), capture_output=True, text=True, check=True)
    if len(run.stdout.split()) != len(rows):
        raise RuntimeError(f"SimGrid answered {len(run.stdout.split())} of {len(rows)} scenarios")
    return float(run.stderr.split()[-1])


def batch_run(grid: list[Guest]) -> tuple[float, float]:
    """Seconds that the batch engine takes for the grid, and the share of the cells that completes."""
    migrations = [(precopy(workload, deadline_s=3600.0), bandwidths) for workload, bandwidths in grid]
    begin, completed = time.perf_counter(), []
    for migration, bandwidths in migrations:
        result = simulate_grid(migration, {"max-bandwidth": bandwidths, "downtime-limit": [DOWNTIME_MS]})
        completed.append(result.completed)
    return time.perf_counter() - begin, float(np.mean(completed))


def gudkov_s(grid: list[Guest]) -> float:
    """Seconds that Gudkov's iteration takes for the grid."""
    windows = np.geomspace(0.05, 60.0, 24)
    inputs = []
    for workload, bandwidths in grid:
        hot, pages = workload.classes[0], workload.ram_bytes // 4096
        dirty = hot.pages * random_fraction(hot.writes_per_page_per_s, windows)
        inputs += [
            RivalInputs(
                workload.ram_bytes, pages, 0, windows.tolist(), dirty.tolist(), float(rate), DOWNTIME_MS
            )
            for rate in bandwidths
        ]
    return seconds_of(lambda: [gudkov.predict(scenario) for scenario in inputs])


def figures(repeats: int) -> dict[str, float]:
    """Cells a second of all three, and the ratios of the batch engine's speed to the rivals'."""
    grid = guests()
    cells = len(grid) * len(SHARES)
    batch_run(grid[:1])  # compiles the loop, or loads compiled code
    simgrid_built = build_driver()
    taken: dict[str, list[float]] = {"batch": [], "gudkov": [], "simgrid": []}
    for _ in range(repeats):
        seconds, completed = batch_run(grid)
        taken["batch"].append(seconds)
        taken["gudkov"].append(gudkov_s(grid))
        if simgrid_built:
            taken["simgrid"].append(simgrid_s(grid))
    print(f"rivals: {completed:.1%} of the grid completes by the batch engine", file=sys.stderr)
    found = {
        f"rivals.{name}.cells_per_s": round(
            median(f"rivals.{name}.cells_per_s", [cells / s for s in seconds])
        )
        for name, seconds in taken.items()
        if seconds
    }
    for rival in ("gudkov", "simgrid"):
        if taken[rival]:
            ratios = [theirs / ours for theirs, ours in zip(taken[rival], taken["batch"], strict=True)]
            found[f"batch.vs_{rival}.ratio"] = round(median(f"batch.vs_{rival}.ratio", ratios), 2)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
