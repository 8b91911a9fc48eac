"""Windows of the batch engine: how one is closed, and how many that are alike are sent together.

Between two syncs every window that begins with nothing used, meets pages of one cost and runs out of none of them is
like the one before: it carries the same pages in the same time, and its estimate is the same. So their number follows
by division. Functions here run as Python and compile as they are (`batch_compile`).
"""

from __future__ import annotations

from math import floor, inf
from typing import Any

from migsim.engine.batch_clock import change_speed, handled, settled
from migsim.engine.batch_multifd import SHARE_STEP, lost_of, through_channels
from migsim.engine.batch_sending import full_window, page_bytes_of, page_s_of, send
from migsim.engine.batch_state import ZERO, Memory
from migsim.engine.batch_verdict import stands_still
from migsim.engine.throttle import SETTLED_S
from migsim.models.migration_thread import close_window
from migsim.models.multifd import share_left
from migsim.models.page_stream import PAGE_BYTES, SECTION_BYTES

__all__ = ["end_window", "windows"]


def end_window(s: Any, c: Any, kind: Any) -> None:
    """Close a window."""
    estimate = close_window(
        s.ram_stream + s.other_stream - s.window_stream,
        handled(s) - s.window_pages,
        s.now - s.window_start,
        c.downtime_limit_ms,
        s.dirty_after_sync,
        s.dirty_pages_rate,
        c.switchover_bytes_per_s,
    )
    s.threshold, s.mbps = estimate.threshold_bytes, estimate.mbps
    s.pages_per_second = estimate.pages_per_second
    if estimate.expected_downtime_ms is not None:
        s.expected_downtime_ms = estimate.expected_downtime_ms
    if kind.multifd:
        share = share_left(s.window_lost_s, s.now - s.window_start)
        s.window_lost_s = 0.0
        if abs(share - s.share) > SHARE_STEP:
            s.share = share
            change_speed(s, c)
    s.window_start, s.window_pages = s.now, handled(s)
    s.window_stream = s.ram_stream + s.other_stream


def windows(m: Memory, s: Any, c: Any, kind: Any) -> bool:
    """Send as many whole windows as are alike, from a window's start on; False where not even one is.

    In each, all pages cost the same, and no sync, tick, deadline or verdict falls into it.
    """
    if s.started or kind.waits_in_calls:
        return False
    i = s.cursor
    while not m.unsent[i] > 0:
        i = i + 1 if i + 1 < len(m.unsent) else 0
    zeros = m.part[i] == ZERO
    once = kind.coded > 0 or kind.multifd > 0
    if once and i < s.cursor:
        return False
    page_s = page_s_of(m, s, c, i)
    again = not (once or s.first_left or s.zero_left)
    if again and s.full_calls:
        pages, seconds, size = s.full_pages, s.full_s, s.full_stream
        calls, threshold = s.full_calls, s.full_threshold
    else:
        if page_s <= 0 and s.quota == inf:
            return False
        pages, seconds, size, calls = full_window(s.quota, page_s, page_bytes_of(m, c, i), c.wake_up_s)
        bandwidth = c.switchover_bytes_per_s
        threshold = close_window(
            size, pages, seconds, c.downtime_limit_ms, 0.0, 0.0, bandwidth
        ).threshold_bytes
        if again:
            s.full_pages, s.full_s, s.full_stream = pages, seconds, size
            s.full_calls, s.full_threshold = calls, threshold
    if s.threshold != threshold and stands_still(s, c, kind, threshold):
        return False
    until = min(c.deadline_s, s.next_tick)
    if not settled(s, c, kind):
        until = min(until, s.changed_at + SETTLED_S)
    room = s.remaining / pages - max(s.threshold, threshold) / (pages * PAGE_BYTES)
    many = floor(min(room, (until - s.now) / seconds)) - 1.0
    if many < 1:
        return False
    if not again:
        many = min(many, floor(alike(m, s, c, i, many * pages, page_s, once) / pages))
        if many < 1:
            return False
    lost_s = 0.0
    if kind.multifd:
        lost_s = lost_of(c, zeros * pages, (1 - zeros) * pages, page_s)
        if abs(share_left(lost_s, seconds) - s.share) > SHARE_STEP:
            return False
    s.cursor = i
    raw, zero = s.normal, s.duplicate
    page_bytes = page_bytes_of(m, c, i)
    send(m, s, c, inf, many * pages * page_bytes, pages, seconds - pages * page_s, False)
    # The last of them is closed as any.
    s.now = s.window_start + many * seconds
    s.ram_stream += many * (size - calls * SECTION_BYTES)
    s.other_stream += many * calls * SECTION_BYTES
    s.window_start, s.window_pages = s.now - seconds, handled(s) - pages
    s.window_stream = s.ram_stream + s.other_stream - size
    if kind.multifd:
        plain = through_channels(s, c, kind, raw, zero)  # which changes it, too
        s.ram_stream -= plain
        s.window_lost_s = lost_s
    end_window(s, c, kind)
    return True


def alike(m: Memory, s: Any, c: Any, i: int, wanted: float, page_s: float, once: bool) -> float:
    """Pages from segment `i` on, up to `wanted`, before the first one that costs more or less.

    With `once` RAM's end is the end.
    """
    zeros = m.part[i] == ZERO
    found = 0.0
    for _ in range(len(m.unsent)):
        unsent = m.unsent[i]
        if unsent > 0:
            if (m.part[i] == ZERO) != zeros or abs(page_s_of(m, s, c, i) - page_s) > 1e-9 * page_s:
                break
            found += unsent
            if found >= wanted:
                break
        i = i + 1 if i + 1 < len(m.unsent) else 0
        if once and i == 0:
            break
    return found
