"""Windows of the batch engine: how one is closed, and how many that are alike are sent together.

Between two syncs every window that begins with nothing used, meets pages of one cost and runs out of none of them is
like the one before: it carries the same pages in the same time, and its estimate is the same. So their number follows
by division. Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from math import floor, inf
from typing import Any

from migsim.engine.batch.clock import change_speed, handled, settled
from migsim.engine.batch.left import Left, left_in, page_bytes_of, page_s_of, seconds_of
from migsim.engine.batch.multifd import SHARE_STEP, lost_of, through_channels
from migsim.engine.batch.records import ZERO, Memory
from migsim.engine.batch.sending import full_window, send
from migsim.engine.batch.verdict import stands_still
from migsim.engine.events.throttle import SETTLED_S
from migsim.models.loop.migration_thread import close_window
from migsim.models.loop.page_stream import SECTION_BYTES
from migsim.models.multifd.packets import share_left
from migsim.units import PAGE_BYTES

__all__ = ["end_window", "windows"]

SAME = 1e-9
"""Costs that differ by a smaller share are one."""


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
    page_bytes = page_bytes_of(m, c, i)
    if page_s != s.full_page_s or page_bytes != s.full_page_bytes:
        if page_s <= 0 and s.quota == inf:
            return False
        measure(s, c, page_s, page_bytes)
    pages, seconds, size = s.full_pages, s.full_s, s.full_stream
    calls, threshold = s.full_calls, s.full_threshold
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


def measure(s: Any, c: Any, page_s: float, page_bytes: float) -> None:
    """Note a whole window of pages of one cost."""
    pages, seconds, size, calls = full_window(s.quota, page_s, page_bytes, c.wake_up_s)
    estimate = close_window(size, pages, seconds, c.downtime_limit_ms, 0.0, 0.0, c.switchover_bytes_per_s)
    s.full_page_s, s.full_page_bytes, s.full_threshold = page_s, page_bytes, estimate.threshold_bytes
    s.full_pages, s.full_s, s.full_stream, s.full_calls = pages, seconds, size, calls


def alike(m: Memory, s: Any, c: Any, i: int, wanted: float, page_s: float, once: bool) -> float:
    """Pages from segment `i` on, as many as `wanted` or a few more, before the first one that costs more or less.

    With `once` RAM's end is the end.
    """
    zeros = m.part[i] == ZERO
    found, looked, count = 0.0, 0, len(m.unsent)
    while looked < count and found < wanted:
        end = min(m.block_end[i], i + count - looked)
        block = left_in(m, i, end)
        if is_alike(c, block, zeros, page_s):
            found += block.raw + block.zero
        else:
            for k in range(i, end):
                unsent = m.unsent[k]
                if unsent > 0:
                    if (m.part[k] == ZERO) != zeros or abs(page_s_of(m, s, c, k) - page_s) > SAME * page_s:
                        return found
                    found += unsent
        looked += end - i
        i = end if end < count else 0
        if once and i == 0:
            break
    return found


def is_alike(c: Any, left: Left, zeros: bool, page_s: float) -> bool:
    """Whether all that is left is of one kind, and costs so much a page."""
    if zeros or left.zero > 0:
        return zeros and not left.raw > 0
    most = (1 - SAME) * left.raw
    one_kind = left.fresh >= most or not left.first > 0 or (left.first >= most and not left.fresh > 0)
    return one_kind and abs(seconds_of(c, left) - page_s * left.raw) <= SAME * page_s * left.raw
