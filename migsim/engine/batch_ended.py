"""The end of many migrations: the blackout, the counters and `query-migrate`'s figures, by the laws, as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch_cells import Columns, senders
from migsim.engine.batch_result import COLUMNS
from migsim.engine.batch_state import ENDED, UNKNOWN, record
from migsim.engine.recorder import completed_reason, standing_reason
from migsim.models.page_stream import NORMAL_PAGE_BYTES, PAGE_BYTES, ram_bytes_of
from migsim.models.query_migrate import mean_mbps
from migsim.models.switchover import Blackout, PagesLeft, blackout

__all__ = ["WHY", "figures_of", "reason_of"]

Floats = NDArray[np.float64]

WHY = record("pages flush_s now gap_s last_test least_test threshold", "completed steady tests")
"""What a reason is made of: pages left and how long they took, or what the last exact tests found."""


def _black(ended: Any, cells: Any, columns: Columns) -> Blackout:
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
    plain = ended["coded"] == 0
    again = np.where(plain, ended["again"], ended["coded_raw"])
    left = PagesLeft(again, ended["first"] * plain, ended["fresh"] * plain, ended["zero"])
    return blackout(
        left,
        sync_s=cells["sync_s"],
        stop_s=cells["stop_s"],
        **burst,
        device_state_s=term("device_state_s"),
        load_s=term("load_s"),
        encoding_s=ended["coded_extra_s"],
    )


def figures_of(
    ended: NDArray[Any], cells: NDArray[Any], columns: Columns
) -> tuple[NDArray[Any], dict[str, Floats]]:
    """What each cell's reason is made of, and its figures by the names of `COLUMNS`.

    Parameters
    ----------
    ended, cells : ndarray of `ENDED`, of `CELL`
    columns : Columns
        What the cells were made from.
    """
    done = ended["completed"] == 1
    parts = _black(ended, cells, columns)
    behaviour = columns.what.behaviour
    e: dict[str, Any] = {name: ended[name].astype(float) for name in ENDED.fields or ()}
    plain = e["coded"] == 0
    raw_left = np.where(plain, e["again"] + e["first"] + e["fresh"], e["coded_raw"])
    last_bytes = ram_bytes_of(raw_left * plain, e["zero"], 1) + e["coded_bytes"]
    by_channels = columns.what.on("multifd")  # whose last pages are counted already
    blackout_bytes = np.where(done, e["blackout_bytes"] if by_channels else last_bytes, 0.0)
    uncounted = done & (not by_channels)
    # Where it stands still, the counters go on to the deadline at the last rounds' pace.
    goes_on = ~done & (ended["steady"] == 1) & (cells["deadline_s"] > e["now"])
    times = np.where(
        goes_on, (cells["deadline_s"] - e["now"]) / np.maximum(e["now"] - e["middle_start"], 1e-9), 0.0
    )

    def further(name: str, middle: str) -> Floats:
        return np.asarray(e[name] + times * (e[name] - e[middle]))

    ram_stream = further("ram_stream", "middle_ram") + blackout_bytes * uncounted
    multifd = further("multifd_stream", "middle_multifd")
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
    nan = np.full(len(ended), np.nan)
    pages_left = np.round(e["remaining"] * PAGE_BYTES / PAGE_BYTES)
    figures = {
        "total_time_ms": np.trunc(total_s * 1000),
        "setup_time_ms": np.trunc(e["setup_s"] * 1000),
        "downtime_ms": np.where(done, np.trunc(parts.downtime_s * 1000), nan),
        "expected_downtime_ms": np.where(done, nan, np.trunc(expected)),
        "transferred_bytes": np.round(transferred),
        "remaining_bytes": np.where(done, 0.0, pages_left * PAGE_BYTES),
        "normal_pages": np.round(further("normal", "middle_normal") + np.where(uncounted, raw_left, 0.0)),
        "duplicate_pages": np.round(e["duplicate"] + np.where(uncounted, e["zero"], 0.0)),
        "dirty_sync_count": e["dirty_sync_count"]
        + np.round(times * (e["dirty_sync_count"] - e["middle_count"])),
        "dirty_pages_rate": np.where(done, 0.0, np.trunc(e["dirty_pages_rate"])),
        "pages_per_second": np.trunc(e["pages_per_second"]),
        "mbps": np.where(done, mean, e["mbps"]),
        "cpu_throttle_percentage": np.where(done | (e["percentage"] == 0), nan, e["percentage"]),
        "multifd_bytes": np.round(multifd),
        "blackout_ms": np.where(done, parts.blackout_s * 1000, nan),
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
    return whys_of(ended, parts), {name: figures.get(name, nan) for name in COLUMNS}


def whys_of(ended: NDArray[Any], parts: Blackout) -> NDArray[Any]:
    """What the reason of each cell is made of: records of `WHY`."""
    whys = np.zeros(len(ended), WHY)
    whys["pages"] = ended["again"] + ended["first"] + ended["fresh"] + ended["zero"]
    whys["flush_s"] = parts.flush_s
    for name in ("now", "gap_s", "last_test", "least_test", "threshold", "completed", "steady", "tests"):
        whys[name] = ended[name]
    return whys


def reason_of(why: Any) -> str:
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
