"""Predictor of Hyman Huang's comparison of auto-converge and dirty-limit.

The mail gives the size of the written memory and the sleep after each pass, but not the speed of the writer, the other
data of the guest, or the size of the rings. These are varied; the answer is the range of the migrations that complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB
from migsim.results import MigrationResult
from migsim.workload import Workload, WorkloadClass
from validation.published import Fixture
from validation.published.simulated import host_terms, run
from validation.published.table import Answer, Value, range_of

__all__ = ["hyman"]

Row = Mapping[str, Any]

WRITER_GIB_PER_S = (1.0, 4.0, 8.0, 10.0)
"""Speed of one vCPU that writes memory in a loop."""

OTHER_GIB = (0.25, 1.0)
"""Data of a small Linux guest besides the writer's."""

RING_ENTRIES = (2048, 4096)
"""Sizes of the dirty ring: those that QEMU's documents and tests use."""

GUEST_GIB = 4
GIGABIT_GOODPUT = 117.7e6
"""Bytes a second that TCP carries over 1 GbE."""

DEADLINE_S = 400.0
"""A migration that takes longer counts as one that does not converge."""

VERSION = "8.1"
"""The first release with dirty-limit."""

CONVERGE: Mapping[str, Any] = {"capabilities": {"auto-converge": True}}


def hyman(fixture: Fixture) -> Answer:
    """Answer the total times with auto-converge, with dirty-limit, and with several periods of the limit."""
    values: dict[str, Value] = {}
    limited = ended = 0
    for name, row in fixture.rows("total").items():
        if name.startswith("v1-"):
            continue
        results = [_run(row, guest, CONVERGE) for guest in product(WRITER_GIB_PER_S, OTHER_GIB)]
        values[f"total.{name}.auto-converge-ms"] = _completed_ms(results)
        results = _with_limit(row, {})
        values[f"total.{name}.dirty-limit-ms"] = _completed_ms(results)
        limited += len(results)
        ended += sum(_completed(result) for result in results)
    writer = fixture.rows("total")["1024mib-0us"]
    for name, row in fixture.rows("period").items():
        results = _with_limit(writer, {"x-vcpu-dirty-limit-period": row["period-ms"]})
        enough = 2 * sum(_completed(result) for result in results) > len(results)
        values[f"period.{name}.verdict"] = "completes" if enough else "never"
        low, high = _completed_ms(results)
        values[f"period.{name}.total-s"] = (low / 1000, high / 1000)
    speeds = f"{WRITER_GIB_PER_S[0]:.0f} to {WRITER_GIB_PER_S[-1]:.0f} GiB/s"
    return Answer(
        values=values,
        note=(
            f"One vCPU writing at {speeds}, {OTHER_GIB[0]} to {OTHER_GIB[1]} GiB of other data, rings of "
            f"{RING_ENTRIES[0]} and {RING_ENTRIES[-1]} entries. Auto-converge depends on the writer: at 99 % a writer "
            "of 11 GiB/s or more dirties as much as the link carries, and the migration never ends. With dirty-limit "
            f"{ended} of {limited} migrations complete; the ranges are theirs."
        ),
    )


def _with_limit(row: Row, parameters: Mapping[str, Any]) -> list[MigrationResult]:
    return [
        _run(
            row,
            (speed, other),
            {"capabilities": {"dirty-limit": True}, "dirty_ring_size": entries},
            parameters,
        )
        for speed, other, entries in product(WRITER_GIB_PER_S, OTHER_GIB, RING_ENTRIES)
    ]


def _run(
    row: Row,
    guest: tuple[float, float],
    options: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> MigrationResult:
    """Migrate a guest with one writer that sweeps its memory and sleeps after each pass."""
    speed, other = guest
    written, cold, pages = row["writer-mib"] * 256, int(other * PAGES_PER_GIB), GUEST_GIB * PAGES_PER_GIB
    pass_s = written / PAGES_PER_GIB / speed + row["sleep-us"] * 1e-6
    writer = WorkloadClass(
        pages=written, writes_per_page_per_s=1 / pass_s, pattern="sweep", extents=((0, written),)
    )
    rest = WorkloadClass(pages=cold, writes_per_page_per_s=0.0, extents=((written, cold),))
    ram = GUEST_GIB * GIB
    return run(
        Workload(
            ram_bytes=ram, ram_total_bytes=ram, zero_pages=pages - written - cold, classes=(writer, rest)
        ),
        host_terms(ring_entries_per_write=1.0),
        VERSION,
        {"max-bandwidth": 0} | dict(parameters or {}),
        link_bytes_per_s=GIGABIT_GOODPUT,
        deadline_s=DEADLINE_S,
        **options,
    )


def _completed(result: MigrationResult) -> bool:
    return result.outcome.status == "completed"


def _completed_ms(results: list[MigrationResult]) -> tuple[float, float]:
    return range_of(result.total_time_ms for result in results if _completed(result))
