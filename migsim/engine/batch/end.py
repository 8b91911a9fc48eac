"""The end of a migration of the batch engine: the blackout, the counters and `query-migrate`'s figures, by the laws.

Functions here run as Python and compile as they are (`batch_compile`), but for `reason_of`.
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from typing import Any

import numpy as np

from migsim.engine.batch.records import ABSENT, UNKNOWN
from migsim.engine.events.recorder import completed_reason, standing_reason
from migsim.models.loop.page_stream import ram_bytes_of
from migsim.models.loop.query_migrate import mean_mbps
from migsim.models.loop.switchover import blackout_s, downtime_s, flush_s
from migsim.units import PAGE_BYTES

__all__ = ["reason_of", "set_figures"]


def set_figures(e: Any, c: Any, kind: Any, f: Any, why: Any) -> None:
    """Set a migration's figures, and what its reason is made of, from how it ended."""
    f.setup_time_ms = np.trunc(e.setup_s * 1000)
    f.pages_per_second = np.trunc(e.pages_per_second)
    why.completed, why.now, why.threshold = e.completed, e.now, e.threshold
    if e.completed:
        end_completed(e, c, kind, f, why)
        return
    why.gap_s, why.last_test, why.least_test = e.gap_s, e.last_test, e.least_test
    why.tests, why.steady = e.tests, e.steady
    end_given_up(e, c, kind, f)


def end_completed(e: Any, c: Any, kind: Any, f: Any, why: Any) -> None:
    """What is left goes in the blackout."""
    raw, zero = e.again + e.first + e.fresh, e.zero
    again, first, fresh, plain = e.again, e.first, e.fresh, raw
    why.pages = raw + zero
    if e.coded:
        raw = again = e.coded_raw
        plain = first = fresh = 0.0
    flush = flush_s(
        again, first, fresh, zero,
        c.burst_page_s, c.burst_cold_page_s, c.burst_fresh_page_s, c.burst_zero_page_s, e.coded_extra_s,
    )  # fmt: skip
    down = downtime_s(c.stop_s, c.sync_s, flush, c.device_state_s)
    total = e.now + down
    size = e.blackout_bytes
    if not kind.multifd:  # whose last pages are counted already
        size = ram_bytes_of(plain, zero, 1) + e.coded_bytes
        e.ram_stream += size
        e.normal += raw
        e.duplicate += zero
    e.other_stream += c.device_state_bytes
    set_counters(e, kind, f, total, size, 0.0)
    why.flush_s = flush
    f.downtime_ms = np.trunc(down * 1000)
    f.blackout_ms = blackout_s(down, c.stop_s, c.load_s) * 1000
    f.guest_lost_s = total + c.load_s - e.guest_worked_s
    f.mbps = e.mbps
    if total > e.setup_s:
        f.mbps = mean_mbps(e.ram_stream + e.other_stream, total - e.setup_s)
    f.expected_downtime_ms = f.cpu_throttle_percentage = ABSENT
    f.remaining_bytes = f.dirty_pages_rate = 0.0


def end_given_up(e: Any, c: Any, kind: Any, f: Any) -> None:
    """Where it stands still, the counters go on to the deadline at the last rounds' pace."""
    total, times = e.now, 0.0
    if e.steady and c.deadline_s > e.now:
        total, times = c.deadline_s, (c.deadline_s - e.now) / max(e.now - e.middle_start, 1e-9)
    e.ram_stream += times * (e.ram_stream - e.middle_ram)
    e.other_stream += times * (e.other_stream - e.middle_other)
    e.multifd_stream += times * (e.multifd_stream - e.middle_multifd)
    e.normal += times * (e.normal - e.middle_normal)
    e.guest_lost_s += times * (e.guest_lost_s - e.middle_lost)
    e.xbzrle_pages += times * (e.xbzrle_pages - e.middle_pages)
    e.cache_miss += times * (e.cache_miss - e.middle_miss)
    e.xbzrle_overflow += times * (e.xbzrle_overflow - e.middle_overflow)
    e.xbzrle_bytes += times * (e.xbzrle_bytes - e.middle_bytes)
    set_counters(e, kind, f, total, 0.0, np.rint(times * (e.dirty_sync_count - e.middle_count)))
    f.downtime_ms = f.blackout_ms = ABSENT
    f.guest_lost_s = e.guest_lost_s
    f.mbps = e.mbps
    expected = c.downtime_limit_ms if e.expected_downtime_ms == UNKNOWN else e.expected_downtime_ms
    f.expected_downtime_ms = np.trunc(expected)
    f.cpu_throttle_percentage = e.percentage if e.percentage else ABSENT
    f.remaining_bytes = np.rint(e.remaining) * PAGE_BYTES
    f.dirty_pages_rate = np.trunc(e.dirty_pages_rate)


def set_counters(
    e: Any, kind: Any, f: Any, total_s: float, blackout_bytes: float, further_syncs: float
) -> None:
    """Set what is counted all the way."""
    f.total_time_ms = np.trunc(total_s * 1000)
    f.transferred_bytes = np.rint(e.ram_stream + (e.other_stream if kind.all_stream else 0.0))
    f.normal_pages, f.duplicate_pages = np.rint(e.normal), np.rint(e.duplicate)
    f.dirty_sync_count = e.dirty_sync_count + further_syncs
    f.multifd_bytes = np.rint(e.multifd_stream)
    f.precopy_bytes = f.downtime_bytes = ABSENT
    if kind.byte_split:
        f.precopy_bytes = np.rint(e.ram_stream - e.multifd_stream - blackout_bytes)
        f.downtime_bytes = np.rint(blackout_bytes)
    f.xbzrle_bytes = f.xbzrle_pages = f.xbzrle_cache_miss_pages = ABSENT
    f.xbzrle_overflow_pages = f.xbzrle_cache_miss_rate = f.xbzrle_encoding_rate = ABSENT
    if kind.coded:
        f.xbzrle_bytes, f.xbzrle_pages = np.rint(e.xbzrle_bytes), np.rint(e.xbzrle_pages)
        f.xbzrle_cache_miss_pages = np.rint(e.cache_miss)
        f.xbzrle_overflow_pages = np.rint(e.xbzrle_overflow)
        f.xbzrle_cache_miss_rate, f.xbzrle_encoding_rate = e.cache_miss_rate, e.encoding_rate


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
