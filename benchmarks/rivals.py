"""Rivals on the same scenarios in the same run: SimGrid's live-migration plug-in, and Gudkov's iteration.

    python -m benchmarks.rivals [--repeats 5]

A grid of RAM, bandwidth and dirty rate whose every guest converges, because SimGrid's plug-in loops for ever on one
that does not. SimGrid with its own default model and the plug-in's own 30 ms of downtime, by the driver in
`benchmarks/simgrid/`, which `build()` compiles; Gudkov's as `validation.rivals` writes it from its description. In
each repeat all three take their turns. What Python and C++ need to start is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np

from benchmarks.guests import GIB, migration
from benchmarks.timing import ROOT, median, seconds_of
from migsim.engine.batch import simulate_grid
from migsim.models.page_writes import random_fraction
from migsim.scenario import Workload, WorkloadClass
from validation.rivals import gudkov
from validation.rivals.interface import RivalInputs

SOURCE = ROOT / "benchmarks" / "simgrid" / "driver.cpp"
DRIVER = ROOT / "build" / "simgrid" / "driver"
RAM_BYTES = (1 * GIB, 4 * GIB, 16 * GIB, 64 * GIB)
BANDWIDTHS = np.geomspace(25e6, 1.25e9, 25).astype(np.int64)
SHARES = np.linspace(0.02, 0.5, 20)
"""Bytes dirtied a second, as shares of the bandwidth."""
WRITES_PER_PAGE_PER_S = 0.5
DOWNTIME_MS = 300.0


def build() -> bool:
    """Compile SimGrid's driver; False, and why on stderr, where that fails."""
    DRIVER.parent.mkdir(parents=True, exist_ok=True)
    try:
        made = subprocess.run(
            ["g++", "-O2", "-std=c++17", str(SOURCE), "-lsimgrid", "-o", str(DRIVER)],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        print("SimGrid is left out: there is no g++ (Debian's package g++).", file=sys.stderr)
        return False
    if made.returncode:
        first = made.stderr.strip().splitlines()[0] if made.stderr.strip() else "g++ failed"
        print(f"SimGrid is left out ({first}). Debian's package is libsimgrid-dev.", file=sys.stderr)
    return not made.returncode


def simgrid_s() -> float:
    """Seconds that SimGrid takes for the grid, by its driver's own clock."""
    rows = [f"{ram} {rate} {share}" for ram in RAM_BYTES for rate in BANDWIDTHS for share in SHARES]
    made = subprocess.run([str(DRIVER)], input="\n".join(rows), capture_output=True, text=True, check=True)
    if len(made.stdout.split()) != len(rows):
        raise RuntimeError(f"SimGrid answered {len(made.stdout.split())} of {len(rows)} scenarios")
    return float(made.stderr.split()[-1])


def guests() -> list[tuple[int, float, Workload]]:
    """A guest for each RAM and share of the middle bandwidth: random writes to a set that makes that dirty rate."""
    found = []
    for ram in RAM_BYTES:
        for share in SHARES:
            hot = int(share * float(np.median(BANDWIDTHS)) / 4096 / WRITES_PER_PAGE_PER_S)
            hot = min(hot, ram // 4096 // 2)
            written = WorkloadClass(
                pages=hot, writes_per_page_per_s=WRITES_PER_PAGE_PER_S, extents=((0, hot),)
            )
            rest = ram // 4096 - hot
            still = WorkloadClass(pages=rest, writes_per_page_per_s=0.0, extents=((hot, rest),))
            found.append(
                (
                    ram,
                    share,
                    Workload(ram_bytes=ram, ram_total_bytes=ram, zero_pages=0, classes=(written, still)),
                )
            )
    return found


def batch_s(of: list[tuple[int, float, Workload]]) -> float:
    """Seconds that the batch engine takes for the grid, one guest's bandwidths together."""
    grids = [migration(workload, deadline_s=3600.0) for _, _, workload in of]

    def all_of_them() -> None:
        for what in grids:
            simulate_grid(what, {"max-bandwidth": BANDWIDTHS, "downtime-limit": np.array([int(DOWNTIME_MS)])})

    return seconds_of(all_of_them)


def gudkov_s(of: list[tuple[int, float, Workload]]) -> float:
    """Seconds that Gudkov's iteration takes for the grid."""
    windows = np.geomspace(0.05, 60.0, 24)
    inputs = []
    for ram, _, workload in of:
        hot = workload.classes[0]
        dirty = hot.pages * random_fraction(hot.writes_per_page_per_s, windows)
        inputs += [
            RivalInputs(ram, ram // 4096, 0, windows.tolist(), dirty.tolist(), float(rate), DOWNTIME_MS)
            for rate in BANDWIDTHS
        ]
    return seconds_of(lambda: [gudkov.predict(one) for one in inputs])


def figures(repeats: int) -> dict[str, float]:
    """Cells a second of all three, and how many times as fast the batch engine is as SimGrid."""
    of = guests()
    cells = len(RAM_BYTES) * len(BANDWIDTHS) * len(SHARES)
    batch_s(of[:2])  # compiles, or loads what is compiled
    there = build()
    taken: dict[str, list[float]] = {"batch": [], "gudkov": [], "simgrid": []}
    for _ in range(repeats):
        taken["batch"].append(batch_s(of))
        taken["gudkov"].append(gudkov_s(of))
        if there:
            taken["simgrid"].append(simgrid_s())
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
