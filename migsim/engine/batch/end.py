"""The end of a migration in the batch engine: the blackout, the counters and `query-migrate`'s figures.

All functions but `reason_of` are compiled, and run as Python too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from migsim.engine.batch.multifd import finder_of
from migsim.engine.batch.records import ABSENT, UNKNOWN, Cell, CellFigures, Ended, Kind, Reason, SyncNote
from migsim.engine.ending import carried_on, completed_reason, standing_reason
from migsim.models.loop.page_stream import ram_bytes_of
from migsim.models.loop.query_migrate import mean_mbps, transferred_bytes
from migsim.models.loop.switchover import blackout_s, downtime_s, flush_s, waited_s
from migsim.models.multifd.packets import counted_pages
from migsim.units import PAGE_BYTES

__all__ = ["reason_of", "set_figures"]


def set_figures(
    end: Ended, middle: SyncNote, cell: Cell, kind: Kind, figures: CellFigures, reason: Reason
) -> None:
    """Fill in a migration's figures, and what its reason is told from; `middle` is the sync halfway."""
    figures.setup_time_ms = np.trunc(end.setup_s * 1000)
    figures.pages_per_second = np.trunc(end.pages_per_second)
    reason.completed, reason.now, reason.threshold = end.completed, end.now, end.threshold
    if end.completed:
        end_completed(end, cell, kind, figures, reason)
        return
    reason.gap_s, reason.new_bytes_per_s = end.gap_s, end.new_bytes_per_s
    reason.least_test = end.least_test
    reason.tests, reason.steady = end.tests, end.steady
    end_given_up(end, middle, cell, kind, figures)


def end_completed(end: Ended, cell: Cell, kind: Kind, figures: CellFigures, reason: Reason) -> None:
    """Fill in the figures of a migration that completed: the pages left are sent during the blackout."""
    raw, zero = end.again + end.first + end.fresh, end.zero
    again, first, fresh, plain = end.again, end.first, end.fresh, raw
    reason.pages = raw + zero
    if end.encoded:
        raw = again = end.encoded_raw
        plain = first = fresh = 0.0
    flush = flush_s(
        again,
        first,
        fresh,
        zero,
        cell.burst_page_s,
        cell.burst_cold_page_s,
        cell.burst_fresh_page_s,
        cell.burst_zero_page_s,
        end.encoded_extra_s,
    )
    waited = waited_s(cell.load_s, kind.return_path > 0)
    down = downtime_s(cell.stop_s, cell.sync_s, flush, cell.device_state_s, waited)
    total = end.now + down
    size = end.blackout_bytes
    if not kind.multifd:  # multifd has counted the last pages already
        whole, _ = counted_pages(0.0, zero, finder_of(kind))
        size = ram_bytes_of(plain + whole, zero - whole, 0) + end.encoded_bytes
        end.ram_stream += size
        end.normal += raw + whole
        end.duplicate += zero - whole
    end.other_stream += cell.device_state_bytes
    set_counters(end, kind, figures, total, size, 0.0)
    reason.flush_s = flush
    figures.downtime_ms = np.trunc(down * 1000)
    figures.blackout_ms = blackout_s(cell.sync_s, flush, cell.device_state_s, cell.load_s) * 1000
    figures.guest_lost_s = total - waited + cell.load_s - end.guest_worked_s
    figures.mbps = end.mbps
    if total > end.setup_s:
        figures.mbps = mean_mbps(end.ram_stream + end.other_stream, total - end.setup_s)
    figures.expected_downtime_ms = figures.cpu_throttle_percentage = ABSENT
    figures.remaining_bytes = figures.dirty_pages_rate = 0.0


def end_given_up(end: Ended, middle: SyncNote, cell: Cell, kind: Kind, figures: CellFigures) -> None:
    """Fill in the figures of a migration that was given up; the counters of a standstill are carried on."""
    total, times = end.now, 0.0
    if end.steady and cell.deadline_s > end.now:
        total, times = cell.deadline_s, (cell.deadline_s - end.now) / max(end.now - middle.begun_s, 1e-9)
    end.ram_stream = carried_on(end.ram_stream, middle.ram_stream, times)
    end.other_stream = carried_on(end.other_stream, middle.other_stream, times)
    end.multifd_stream = carried_on(end.multifd_stream, middle.multifd_stream, times)
    end.normal = carried_on(end.normal, middle.normal, times)
    end.guest_lost_s = carried_on(end.guest_lost_s, middle.guest_lost_s, times)
    end.xbzrle_pages = carried_on(end.xbzrle_pages, middle.xbzrle_pages, times)
    end.cache_miss = carried_on(end.cache_miss, middle.cache_miss, times)
    end.xbzrle_overflow = carried_on(end.xbzrle_overflow, middle.xbzrle_overflow, times)
    end.xbzrle_bytes = carried_on(end.xbzrle_bytes, middle.xbzrle_bytes, times)
    middle_count = end.middle_sync + 1
    set_counters(end, kind, figures, total, 0.0, np.rint(times * (end.dirty_sync_count - middle_count)))
    figures.downtime_ms = figures.blackout_ms = ABSENT
    figures.guest_lost_s = end.guest_lost_s
    figures.mbps = end.mbps
    expected = cell.downtime_limit_ms if end.expected_downtime_ms == UNKNOWN else end.expected_downtime_ms
    figures.expected_downtime_ms = np.trunc(expected)
    figures.cpu_throttle_percentage = end.percentage if end.percentage else ABSENT
    figures.remaining_bytes = np.rint(end.remaining) * PAGE_BYTES
    figures.dirty_pages_rate = np.trunc(end.dirty_pages_rate)


def set_counters(
    end: Ended,
    kind: Kind,
    figures: CellFigures,
    total_s: float,
    blackout_bytes: float,
    further_syncs: float,
) -> None:
    """Fill in the figures that are counted from the beginning to the end."""
    figures.total_time_ms = np.trunc(total_s * 1000)
    transferred = transferred_bytes(end.ram_stream, end.other_stream, kind.counts_all_stream > 0)
    figures.transferred_bytes = np.rint(transferred)
    figures.normal_pages, figures.duplicate_pages = np.rint(end.normal), np.rint(end.duplicate)
    figures.dirty_sync_count = end.dirty_sync_count + further_syncs
    figures.multifd_bytes = np.rint(end.multifd_stream)
    figures.precopy_bytes = figures.downtime_bytes = ABSENT
    if kind.byte_split:
        figures.precopy_bytes = np.rint(end.ram_stream - end.multifd_stream - blackout_bytes)
        figures.downtime_bytes = np.rint(blackout_bytes)
    figures.xbzrle_bytes = figures.xbzrle_pages = figures.xbzrle_cache_miss_pages = ABSENT
    figures.xbzrle_overflow_pages = figures.xbzrle_cache_miss_rate = ABSENT
    figures.xbzrle_encoding_rate = ABSENT
    if kind.xbzrle:
        figures.xbzrle_bytes, figures.xbzrle_pages = np.rint(end.xbzrle_bytes), np.rint(end.xbzrle_pages)
        figures.xbzrle_cache_miss_pages = np.rint(end.cache_miss)
        figures.xbzrle_overflow_pages = np.rint(end.xbzrle_overflow)
        figures.xbzrle_cache_miss_rate = end.cache_miss_rate
        figures.xbzrle_encoding_rate = end.encoding_rate


def reason_of(reason: Any) -> str:
    """Say in a sentence why a cell ended as it did; `reason` is its record of `REASON`."""
    if reason["completed"]:
        return completed_reason(float(reason["pages"]), float(reason["flush_s"]))
    return standing_reason(
        float(reason["now"]),
        int(reason["tests"]),
        float(reason["gap_s"]),
        float(reason["new_bytes_per_s"]),
        float(reason["least_test"]),
        float(reason["threshold"]),
        bool(reason["steady"]),
    )
