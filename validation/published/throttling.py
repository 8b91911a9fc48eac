"""Predictor of Chegu's 256 GiB guest with the auto-converge of 2013.

The source does not say how the guest writes. Guests that agree with the OFF run are simulated, and the answer is the
range over the migrations that complete.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from migsim.models.dirty.bitmap import GIB, bitmap_layout
from migsim.models.dirty.log_start import start_freeze
from migsim.models.dirty.sync import LAYOUTS, sync_parts
from migsim.models.loop.page_stream import ram_bytes_of
from migsim.profiles.published import cost_preset
from migsim.units import PAGE_BYTES
from migsim.workload import Workload, WorkloadClass
from validation.published import Fixture
from validation.published.simulated import host_terms, run
from validation.published.table import Answer, Value, range_of

__all__ = ["chegu", "chegu_guests"]

KIB_PER_PAGE = PAGE_BYTES // 1024
GBPS = 1e9 / 8

ROUND_FACTORS = (1.0, 2.0)
"""Dirty pages of a round of OFF over the pages that remained at a sample: right after a sync, or halfway through."""

ALL_HOT = 1.02
"""Pages of the written set over the dirty pages of a round, where a round dirties nearly the whole set."""

Row = Mapping[str, Any]


def chegu(fixture: Fixture) -> Answer:
    """Answer the ON run from the OFF run, over the guests and sync costs that agree with OFF."""
    off, both = fixture.rows("off")["run"], fixture.rows("settings")["both"]
    page_s, zero_page_s = _chegu_costs(off)
    # OFF's expected downtime gives the speed of its last window, and so the threshold: twice that of the mean speed
    window_share = 1000 / off["expected-downtime-ms"]
    limit_ms = round(both["downtime-limit-ms"] * window_share)
    results = []
    for guest, sync_s in product(chegu_guests(off), _chegu_syncs(both["ram-gib"])):
        terms = host_terms(
            page_s=page_s,
            burst_page_s=page_s,
            zero_page_s=zero_page_s,
            sync_s_per_gib=sync_s / both["ram-gib"],
            setup_s_per_gib=_chegu_freeze(both["ram-gib"]) / both["ram-gib"],
        )
        parameters = {"max-bandwidth": int(both["speed-gbps"] * GBPS), "downtime-limit": limit_ms}
        results.append(
            run(
                guest,
                terms,
                fixture.qemu_version,
                parameters,
                capabilities={"auto-converge": True},
                deadline_s=off["total-ms"] / 1000,
            )
        )
    completed = [result for result in results if result.outcome.status == "completed"]
    values: dict[str, Value] = {
        "on.run.status": "completed" if 2 * len(completed) > len(results) else "active",
        "on.run.total-ms": range_of(result.total_time_ms for result in completed),
        "on.run.downtime-ms": range_of(result.downtime_ms for result in completed),
        "on.run.normal-pages": range_of(result.info["ram"]["normal"] for result in completed),
    }
    for side in ("off", "on"):
        values[f"{side}.run.transferred-kib"] = _without_skipped(fixture.rows(side)["run"])
    return Answer(
        values=values,
        fitted={
            "page_s": page_s,
            "zero_page_s": zero_page_s,
            "last window's speed over the mean": window_share,
        },
        note=(
            f"{len(completed)} of {len(results)} pairs of a guest and a sync cost that agree with the OFF run "
            "complete; the ranges are theirs. The others fail because of the sync: during the scan of 256 GiB the "
            "throttled guest dirties more than the next 50 ms send."
        ),
    )


def chegu_guests(off: Row) -> Iterator[Workload]:
    """Give guests that agree with OFF: rounds of the remaining pages, or twice as many, in a hot set or all data."""
    pages, zero = off["total-kib"] // KIB_PER_PAGE, off["skipped-pages"]
    data = pages - zero
    page_s = 1 / off["dirty-pages-per-s"]
    for factor, all_data in product(ROUND_FACTORS, (False, True)):
        round_pages = factor * off["remaining-kib"] / KIB_PER_PAGE
        written = data if all_data else int(round_pages * ALL_HOT)
        rate = -math.log1p(-round_pages / written) / (round_pages * page_s)
        classes = [WorkloadClass(pages=written, writes_per_page_per_s=rate, extents=((0, written),))]
        if written < data:
            cold = data - written
            classes.append(WorkloadClass(pages=cold, writes_per_page_per_s=0.0, extents=((written, cold),)))
        ram = pages * PAGE_BYTES
        yield Workload(ram_bytes=ram, ram_total_bytes=ram, zero_pages=zero, classes=tuple(classes))


def _chegu_costs(off: Row) -> tuple[float, float]:
    """Return seconds of a page and of a zero page; OFF does not converge, so it sends as fast as the guest dirties."""
    page_s = 1 / off["dirty-pages-per-s"]
    rest_s = off["total-ms"] / 1000 - off["normal-pages"] * page_s
    return page_s, rest_s / off["duplicate-pages"]


def _chegu_syncs(ram_gib: int) -> tuple[float, ...]:
    """Return seconds of a clean sync in 1.6: zero, and the low end and the middle of the published costs."""
    costs = cost_preset("era-2012")
    layout = LAYOUTS["1.4-1.7"]
    return (
        0.0,
        *(sync_parts(layout, ram_gib * GIB, 0, costs.at(bound)).total_s for bound in ("low", "value")),
    )


def _chegu_freeze(ram_gib: int) -> float:
    return start_freeze(bitmap_layout("1.6"), ram_gib * GIB, cost_preset("era-2012").at()).total_s


def _without_skipped(row: Row) -> float:
    """Return the KiB of RAM records; zero pages of the bulk stage are not sent by 1.6, which counts them as skipped."""
    return ram_bytes_of(row["normal-pages"], row["duplicate-pages"] - row["skipped-pages"]) / 1024
