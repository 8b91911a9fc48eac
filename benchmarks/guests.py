"""Guests that the benchmarks migrate.

The OLTP guest is synthetic: the write rates of the OLTP guest in the talk of May 2013 were never published. It has that
guest's shape: 40 % of RAM is the database's shared memory, and 75 users work on it. These are the assumed classes of a
guest with 128 GiB:

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

A smaller guest has proportionally less of each class. A larger guest has the same users, who write to the same
blocks; its shared memory beyond those 51.2 GiB caches blocks that are only read. With `all_written` the users write to
all of the shared memory, with the same number of writes a second in total.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migsim.engine.inputs import SimulationInput, needed_terms
from migsim.profiles import HostProfile
from migsim.profiles.bundled import bundled_profiles
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass

HOST = next(path for path in bundled_profiles() if path.stem == "kvm-10.0")
GIB = 1 << 30
SHARED = 0.40
"""Share of RAM that is shared memory."""
OTHER = 0.30
"""Share of RAM that holds other data."""
OLTP_SETTINGS = {"max-bandwidth": 1_250_000_000, "downtime-limit": 4000}
"""The settings of the talk: 10 Gbit/s, 4 s."""

_WRITTEN = ((1 << 14, 4.0, "sweep"), (1 << 17, 0.5, "random"), (1 << 20, 0.01, "random"))
"""Written classes of a guest with 128 GiB or more: pages, writes to each page a second, pattern."""


def oltp(ram_bytes: int, *, busier: float = 1.0, all_written: bool = False) -> Workload:
    """Make the OLTP guest of a size, with users that are `busier` times as busy."""
    ram_pages = ram_bytes // 4096
    larger = max(ram_bytes / (128 * GIB), 1.0)
    smaller = min(ram_bytes / (128 * GIB), 1.0)
    classes: list[WorkloadClass] = []
    first_page = 0

    def add(pages: int, rate: float, pattern: Any) -> None:
        nonlocal first_page
        extents = ((first_page, pages),)
        classes.append(
            WorkloadClass(pages=pages, writes_per_page_per_s=rate * busier, pattern=pattern, extents=extents)
        )
        first_page += pages

    for pages, rate, pattern in _WRITTEN:
        add(int(pages * smaller), rate, pattern)
    cold = int(ram_pages * SHARED / (1.0 if all_written else larger)) - first_page
    add(cold, 0.0001 / (larger if all_written else 1.0), "random")
    only_read = int(ram_pages * SHARED) - first_page
    add(only_read + int(ram_pages * OTHER), 0.0, "random")
    return Workload(
        ram_bytes=ram_bytes,
        ram_total_bytes=ram_bytes,
        zero_pages=ram_pages - first_page,
        classes=tuple(classes),
    )


def precopy(
    workload: Workload, *, host: Path = HOST, deadline_s: float = 86_400.0, **changes: Any
) -> SimulationInput:
    """Make the input of a plain precopy, with the median terms of a host profile."""
    medians = HostProfile.load(host).medians()
    return SimulationInput(
        workload=workload,
        terms={name: medians[name] for name in needed_terms({})},
        version=QemuVersion.parse("10.0"),
        parameters=OLTP_SETTINGS | changes,
        deadline_s=deadline_s,
    )
