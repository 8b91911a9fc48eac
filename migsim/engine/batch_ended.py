"""The end of many migrations: the blackout, the counters and `query-migrate`'s figures, by the laws, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch_cells import Columns, senders
from migsim.engine.batch_state import ENDED, UNKNOWN
from migsim.engine.recorder import completed_reason, standing_reason
from migsim.models.page_stream import NORMAL_PAGE_BYTES, PAGE_BYTES, ram_bytes_of
from migsim.models.query_migrate import mean_mbps
from migsim.models.switchover import Blackout, PagesLeft, blackout

__all__ = ["WHY", "figures_of", "reason_of"]

Floats = NDArray[np.float64]

WHY = (
    "pages", "flush_s", "now", "gap_s", "last_test", "least_test", "threshold", "completed", "steady", "tests",
)  # fmt: skip
"""What a reason is made of: pages left and how long they took, or what the last exact tests found."""


def _black(e: Mapping[str, Any], cells: Any, columns: Columns) -> Blackout:
    """The blackout of every cell, as if each completed."""
    term, field = columns.term, columns.field
    link = NORMAL_PAGE_BYTES / np.asarray(field("link_bytes_per_s"), float)
    burst: dict[str, Any] = {
        "normal_page_s": np.maximum(term("burst_page_s"), link),
        "cold_page_s": np.maximum(term("burst_cold_page_s"), link),
        "fresh_page_s": np.maximum(term("burst_fresh_page_s"), link),
        "zero_page_s": cells["zero_page_s"],
    }
    if columns.what.on("multifd"):
        burst = {name: np.empty(len(cells)) for name in burst}
        for at, sender in senders(columns, len(cells)):
            for name, values in burst.items():
                values[at] = getattr(sender.burst, name)
    left = PagesLeft(e["again"], e["first"], e["fresh"], e["zero"])
    if columns.what.on("xbzrle"):
        plain = e["coded"] == 0
        again = np.where(plain, e["again"], e["coded_raw"])
        left = PagesLeft(again, e["first"] * plain, e["fresh"] * plain, e["zero"])
    return blackout(
        left,
        sync_s=cells["sync_s"],
        stop_s=cells["stop_s"],
        **burst,
        device_state_s=term("device_state_s"),
        load_s=term("load_s"),
        encoding_s=e["coded_extra_s"],
    )


def figures_of(
    ended: NDArray[Any], cells: NDArray[Any], columns: Columns
) -> tuple[Floats, dict[str, Floats]]:
    """What each cell's reason is made of (rows as `WHY`), and such figures as it has by the names of `COLUMNS`.

    Parameters
    ----------
    ended, cells : ndarray of `ENDED`, of `CELL`
    columns : Columns
        What the cells were made from.
    """
    # Columns side by side: taking a field of each record is slow.
    table = ended.view(float).reshape(len(ended), -1).T.copy()
    e: dict[str, Any] = dict(zip(ENDED.names or (), table, strict=True))
    done = e["completed"] == 1
    parts = _black(e, cells, columns)
    behaviour = columns.what.behaviour
    raw_left, last_bytes = _last_pages(e, columns.what.on("xbzrle"))
    by_channels = columns.what.on("multifd")  # whose last pages are counted already
    blackout_bytes = np.where(done, e["blackout_bytes"] if by_channels else last_bytes, 0.0)
    uncounted = done & (not by_channels)
    # Where it stands still, the counters go on to the deadline at the last rounds' pace.
    goes_on = ~done & (e["steady"] == 1) & (cells["deadline_s"] > e["now"])
    some = bool(goes_on.any())
    times = np.where(
        goes_on, (cells["deadline_s"] - e["now"]) / np.maximum(e["now"] - e["middle_start"], 1e-9), 0.0
    )

    def further(name: str, middle: str) -> Floats:
        return np.asarray(e[name] + times * (e[name] - e[middle]) if some else e[name])

    ram_stream = further("ram_stream", "middle_ram") + blackout_bytes * uncounted
    multifd = further("multifd_stream", "middle_multifd") if by_channels else np.zeros(1)
    other = further("other_stream", "middle_other") + np.where(done, columns.term("device_state_bytes"), 0.0)
    total_s = np.where(done, e["now"] + parts.downtime_s, np.where(goes_on, cells["deadline_s"], e["now"]))
    runs_on = total_s + columns.term("load_s")
    lost_s = further("guest_lost_s", "middle_lost")
    expected = np.where(
        e["expected_downtime_ms"] == UNKNOWN, cells["downtime_limit_ms"], e["expected_downtime_ms"]
    )
    transferred = ram_stream + (other if behaviour.transferred_counts == "stream" else 0.0)
    after_setup: Any = np.where(total_s > e["setup_s"], total_s - e["setup_s"], 1.0)
    mean = np.where(total_s > e["setup_s"], mean_mbps(ram_stream + other, after_setup), e["mbps"])
    pages_left = np.round(e["remaining"] * PAGE_BYTES / PAGE_BYTES)
    figures = {
        "total_time_ms": np.trunc(total_s * 1000),
        "setup_time_ms": np.trunc(e["setup_s"] * 1000),
        "downtime_ms": np.where(done, np.trunc(parts.downtime_s * 1000), np.nan),
        "expected_downtime_ms": np.where(done, np.nan, np.trunc(expected)),
        "transferred_bytes": np.round(transferred),
        "remaining_bytes": np.where(done, 0.0, pages_left * PAGE_BYTES),
        "normal_pages": np.round(further("normal", "middle_normal") + np.where(uncounted, raw_left, 0.0)),
        "duplicate_pages": np.round(e["duplicate"] + np.where(uncounted, e["zero"], 0.0)),
        "dirty_sync_count": e["dirty_sync_count"]
        + np.round(times * (e["dirty_sync_count"] - e["middle_count"])),
        "dirty_pages_rate": np.where(done, 0.0, np.trunc(e["dirty_pages_rate"])),
        "pages_per_second": np.trunc(e["pages_per_second"]),
        "mbps": np.where(done, mean, e["mbps"]),
        "cpu_throttle_percentage": np.where(done | (e["percentage"] == 0), np.nan, e["percentage"]),
        "multifd_bytes": np.round(multifd),
        "blackout_ms": np.where(done, parts.blackout_s * 1000, np.nan),
        "guest_lost_s": np.where(done, runs_on - e["guest_worked_s"], lost_s),
    }
    if behaviour.byte_split:
        figures |= {
            "precopy_bytes": np.round(ram_stream - multifd - blackout_bytes),
            "downtime_bytes": np.round(blackout_bytes),
        }
    if columns.what.on("xbzrle"):
        figures |= {
            "xbzrle_bytes": np.round(further("xbzrle_bytes", "middle_bytes")),
            "xbzrle_pages": np.round(further("xbzrle_pages", "middle_pages")),
            "xbzrle_cache_miss_pages": np.round(further("cache_miss", "middle_miss")),
            "xbzrle_cache_miss_rate": e["cache_miss_rate"],
            "xbzrle_encoding_rate": e["encoding_rate"],
            "xbzrle_overflow_pages": np.round(further("xbzrle_overflow", "middle_overflow")),
        }
    e |= {"pages": e["again"] + e["first"] + e["fresh"] + e["zero"], "flush_s": parts.flush_s}
    whys = np.array([e[name] for name in WHY])
    return whys, figures


def _last_pages(e: Mapping[str, Any], coded: bool) -> tuple[Floats, Floats]:
    """Raw pages that are left when the guest stops, and the bytes of all that is."""
    raw = e["again"] + e["first"] + e["fresh"]
    if not coded:
        return raw, np.asarray(ram_bytes_of(raw, e["zero"], 1))
    plain = e["coded"] == 0
    raw_left = np.where(plain, raw, e["coded_raw"])
    return raw_left, np.asarray(ram_bytes_of(raw_left * plain, e["zero"], 1) + e["coded_bytes"])


def reason_of(why: Mapping[str, float]) -> str:
    """Why a cell ended as it did, in a sentence."""
    if why["completed"]:
        return completed_reason(float(why["pages"]), float(why["flush_s"]))
    return standing_reason(
        float(why["now"]),
        int(why["tests"]),
        float(why["gap_s"]),
        float(why["last_test"]),
        float(why["least_test"]),
        float(why["threshold"]),
        bool(why["steady"]),
    )
