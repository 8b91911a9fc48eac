"""What auto-converge of 2013 does to Chegu's 256 GiB guest.

How the guest writes is not told. It is varied over what the OFF run leaves open, and the answer is the range of what
ends.
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
"""A round of OFF against what remained at an instant of it: just synced, or halfway through."""

ALL_HOT = 1.02
"""Written set against the round, where nearly all of it is written in every round."""

Row = Mapping[str, Any]


def chegu(fixture: Fixture) -> Answer:
    """Answer the ON run from the OFF run, over the guests and sync costs that OFF leaves open."""
    off, both = fixture.rows("off")["run"], fixture.rows("settings")["both"]
    page_s, zero_page_s = _chegu_costs(off)
    # OFF's expected downtime tells the speed of its last window, and so the threshold: twice the mean speed's
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
    ended = [r for r in results if r.outcome.status == "completed"]
    values: dict[str, Value] = {
        "on.run.status": "completed" if 2 * len(ended) > len(results) else "active",
        "on.run.total-ms": range_of(r.total_time_ms for r in ended),
        "on.run.downtime-ms": range_of(r.downtime_ms for r in ended),
        "on.run.normal-pages": range_of(r.info["ram"]["normal"] for r in ended),
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
            f"{len(ended)} of {len(results)} pairs of a guest and a sync cost that agree with the OFF run end; the "
            "ranges are theirs. The others hang on the sync: while 256 GiB are scanned the throttled guest dirties "
            "more than the next 50 ms send."
        ),
    )


def chegu_guests(off: Row) -> Iterator[Workload]:
    """Guests that dirty as OFF says: rounds from what remained to twice that, few hot pages or all data alike."""
    pages, zero = off["total-kib"] // KIB_PER_PAGE, off["skipped-pages"]
    data = pages - zero
    page_s = 1 / off["dirty-pages-per-s"]
    for factor, all_data in product(ROUND_FACTORS, (False, True)):
        a_round = factor * off["remaining-kib"] / KIB_PER_PAGE
        written = data if all_data else int(a_round * ALL_HOT)
        rate = -math.log1p(-a_round / written) / (a_round * page_s)
        classes = [WorkloadClass(pages=written, writes_per_page_per_s=rate, extents=((0, written),))]
        if written < data:
            cold = data - written
            classes.append(WorkloadClass(pages=cold, writes_per_page_per_s=0.0, extents=((written, cold),)))
        ram = pages * PAGE_BYTES
        yield Workload(ram_bytes=ram, ram_total_bytes=ram, zero_pages=zero, classes=tuple(classes))


def _chegu_costs(off: Row) -> tuple[float, float]:
    """Seconds a page and a zero page: a guest that does not converge sends as fast as it dirties."""
    page_s = 1 / off["dirty-pages-per-s"]
    rest_s = off["total-ms"] / 1000 - off["normal-pages"] * page_s
    return page_s, rest_s / off["duplicate-pages"]


def _chegu_syncs(ram_gib: int) -> tuple[float, ...]:
    """Seconds of a clean sync in 1.6: nothing, the low end and the middle of what is published of it."""
    costs = cost_preset("era-2012")
    layout = LAYOUTS["1.4-1.7"]
    return (0.0, *(sync_parts(layout, ram_gib * GIB, 0, costs.at(w)).total_s for w in ("low", "value")))


def _chegu_freeze(ram_gib: int) -> float:
    return start_freeze(bitmap_layout("1.6"), ram_gib * GIB, cost_preset("era-2012").at()).total_s


def _without_skipped(row: Row) -> float:
    """KiB of RAM records: 1.6 does not send zero pages of the bulk stage, it calls them skipped."""
    return ram_bytes_of(row["normal-pages"], row["duplicate-pages"] - row["skipped-pages"]) / 1024
