"""Guests that benchmarks migrate.

The OLTP guest is synthetic: nobody published what the talk's guest wrote. Its shape is the talk's: 40 % of RAM is the
database's shared memory, and 75 users work on it. Stated here, of a guest of 128 GiB:

==================  =========================================  ==================  ================
class               pages                                      writes to a page    pattern
==================  =========================================  ==================  ================
log buffer          64 MiB                                     4 a second          sweep
hot blocks          512 MiB                                    0.5 a second        random
warm blocks         4 GiB                                      0.01 a second       random
cold blocks         the rest of 40 % of RAM                    0.0001 a second     random
other data          30 % of RAM                                none                --
zero                30 % of RAM                                --                  --
==================  =========================================  ==================  ================

A smaller guest has less of all. In a larger one the users stay as many, and write to the same blocks; shared memory
beyond those 51.2 GiB caches what they only read. `all_written`: they write to all of it, as often in all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migsim.engine.inputs import SimulationInput, needed_terms
from migsim.qapi import QemuVersion
from migsim.scenario import HostProfile, Workload, WorkloadClass
from migsim.scenario.hosts import bundled_profiles

HOST = next(path for path in bundled_profiles() if path.stem == "kvm-10.0")
GIB = 1 << 30
SHARED = 0.40
OTHER = 0.30
OLTP_SETTINGS = {"max-bandwidth": 1_250_000_000, "downtime-limit": 4000}
"""The talk's: 10 Gbit/s, 4 s."""

_WRITTEN = ((1 << 14, 4.0, "sweep"), (1 << 17, 0.5, "random"), (1 << 20, 0.01, "random"))
"""Pages, writes to each a second, pattern: of 128 GiB and more; smaller guests have as much less."""


def oltp(ram_bytes: int, *, busier: float = 1.0, all_written: bool = False) -> Workload:
    """The OLTP guest of some size; its users `busier` times as busy."""
    total = ram_bytes // 4096
    larger = max(ram_bytes / (128 * GIB), 1.0)
    smaller = min(ram_bytes / (128 * GIB), 1.0)
    classes: list[WorkloadClass] = []
    at = 0

    def add(pages: int, rate: float, pattern: Any) -> None:
        nonlocal at
        extents = ((at, pages),)
        classes.append(
            WorkloadClass(pages=pages, writes_per_page_per_s=rate * busier, pattern=pattern, extents=extents)
        )
        at += pages

    for pages, rate, pattern in _WRITTEN:
        add(int(pages * smaller), rate, pattern)
    cold = int(total * SHARED / (1.0 if all_written else larger)) - at
    add(cold, 0.0001 / (larger if all_written else 1.0), "random")
    only_read = int(total * SHARED) - at
    add(only_read + int(total * OTHER), 0.0, "random")
    return Workload(
        ram_bytes=ram_bytes, ram_total_bytes=ram_bytes, zero_pages=total - at, classes=tuple(classes)
    )


def migration(
    workload: Workload, *, host: Path = HOST, deadline_s: float = 86_400.0, **changes: Any
) -> SimulationInput:
    """A plain precopy at the medians of a host profile."""
    medians = HostProfile.load(host).medians()
    return SimulationInput(
        workload=workload,
        terms={name: medians[name] for name in needed_terms({})},
        version=QemuVersion.parse("10.0"),
        parameters=OLTP_SETTINGS | changes,
        deadline_s=deadline_s,
    )
