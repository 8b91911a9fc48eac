"""How many migrations a second the batch engine predicts on one core: plain precopy, auto-converge, XBZRLE.

    python -m benchmarks.batch [--repeats 5] [--cells 10000]

A grid over max-bandwidth and downtime-limit: a guest of 4 GiB that writes to 96 MiB, with a profile of QEMU 10.0. In
most cells the guest converges; in the others it comes to a standstill or reaches the deadline. Prints JSON, medians
over the repeats. The first run, which compiles the loop or loads compiled code, is timed on its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from benchmarks.guests import HOST
from migsim.engine.batch.grid import simulate_grid
from migsim.engine.batch.result import BatchResult
from migsim.engine.inputs import SimulationInput, needed_terms
from migsim.profiles import HostProfile
from migsim.qapi import QemuVersion
from migsim.workload import PageContent, Workload, WorkloadClass

DEADLINE_S = 600.0
MODES: dict[str, tuple[str, dict[str, int]]] = {
    "precopy": ("", {}),
    "throttle": ("auto-converge", {}),
    "xbzrle": ("xbzrle", {"xbzrle-cache-size": 256 << 20}),
}


def guest() -> Workload:
    """Guest of 4 GiB: a small hot set, a larger warm set, data that is never written, and zero pages."""
    content = PageContent(bytes_a_write=64, places=64)
    sizes = ((8192, 4.0), (16384, 0.2), (262144, 0.0))
    classes, first_page = [], 0
    for pages, rate in sizes:
        classes.append(
            WorkloadClass(
                pages=pages,
                writes_per_page_per_s=rate,
                extents=((first_page, pages),),
                content=content if rate else None,
            )
        )
        first_page += pages
    ram = 4 << 30
    return Workload(
        ram_bytes=ram, ram_total_bytes=ram, zero_pages=(ram >> 12) - first_page, classes=tuple(classes)
    )


def scenario(mode: str) -> SimulationInput:
    """Migration of the guest with one of the `MODES`."""
    capability, parameters = MODES[mode]
    capabilities = {capability: True} if capability else {}
    medians = HostProfile.load(HOST).medians()
    return SimulationInput(
        workload=guest(),
        terms={name: medians[name] for name in needed_terms(capabilities)},
        version=QemuVersion.parse("10.0"),
        parameters=parameters,
        capabilities=capabilities,
        deadline_s=DEADLINE_S,
    )


def grid(mode: str, cells: int) -> BatchResult:
    """Simulate about `cells` cells, from 200 Mbit/s to 25 Gbit/s and from 50 ms to 2 s."""
    side = max(round(cells**0.5), 2)
    bandwidths = np.geomspace(25e6, 3.125e9, side).astype(np.int64)
    limits_ms = np.geomspace(50, 2000, side).astype(np.int64)
    return simulate_grid(scenario(mode), {"max-bandwidth": bandwidths[:, None], "downtime-limit": limits_ms})


def figures(repeats: int, cells: int = 10_000) -> dict[str, float]:
    """Cells a second of each mode, the share of them that completes, and the length of the first call."""
    found = {}
    for mode in MODES:
        begin = time.perf_counter()
        result = grid(mode, 4)
        found[f"batch.{mode}.first_call_s"] = round(time.perf_counter() - begin, 3)
        rates = []
        for _ in range(repeats):
            begin = time.perf_counter()
            result = grid(mode, cells)
            rates.append(len(result) / (time.perf_counter() - begin))
        found[f"batch.{mode}.cells_per_s"] = round(statistics.median(rates))
        found[f"batch.{mode}.completed_fraction"] = round(float(result.completed.mean()), 3)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--cells", type=int, default=10_000)
    given = arguments.parse_args()
    print(json.dumps(figures(given.repeats, given.cells), indent=2))


if __name__ == "__main__":
    main()
