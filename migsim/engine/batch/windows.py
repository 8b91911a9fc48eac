"""Windows of the rate limit in the batch engine: how one ends, and how windows that are alike are sent together.

Between two syncs a window is like the one before if it begins with nothing used, finds pages of one cost, and does not
run out of them: it carries the same pages in the same time and yields the same estimate. So the number of such windows
follows by division. The functions are compiled, and run as Python too.
"""

from __future__ import annotations

from math import floor, inf

from migsim.engine.batch.clock import handled, settled
from migsim.engine.batch.left import Left, left_in, page_bytes_of, page_s_of, seconds_of
from migsim.engine.batch.multifd import losses_of, recount_as_packets
from migsim.engine.batch.ram import ZERO_PART, Memory
from migsim.engine.batch.records import Cell, Kind, State
from migsim.engine.batch.sending import full_window, send
from migsim.engine.batch.verdict import stands_still
from migsim.engine.channels import lost_s, next_share
from migsim.engine.guest_clock import change_speed
from migsim.engine.throttling import SETTLED_S
from migsim.models.loop.migration_thread import close_window, expected_bytes
from migsim.models.loop.page_stream import SECTION_BYTES
from migsim.units import PAGE_BYTES

__all__ = ["alike_pages", "end_window", "send_alike_windows"]

SAME_COST = 1e-9
"""Costs whose relative difference is smaller are the same."""


def end_window(state: State, cell: Cell, kind: Kind) -> None:
    """End a window: estimate the bandwidth, the threshold and the expected downtime from it."""
    estimate = close_window(
        state.ram_stream + state.other_stream - state.window_stream,
        handled(state) - state.window_pages,
        state.now - state.window_start,
        cell.downtime_limit_ms,
        expected_bytes(state.dirty_after_sync, state.dirty_pages_rate, kind.expected_from_rate > 0),
        state.dirty_pages_rate,
        cell.switchover_bytes_per_s,
    )
    state.threshold, state.mbps = estimate.threshold_bytes, estimate.mbps
    state.pages_per_second = estimate.pages_per_second
    if estimate.expected_downtime_ms is not None:
        state.expected_downtime_ms = estimate.expected_downtime_ms
    if kind.multifd:
        share = next_share(state.share, state.window_lost_s, state.now - state.window_start)
        state.window_lost_s = 0.0
        if share != state.share:
            state.share = share
            change_speed(state, cell.load_fraction, state.now)
    state.window_start, state.window_pages = state.now, handled(state)
    state.window_stream = state.ram_stream + state.other_stream


def send_alike_windows(memory: Memory, state: State, cell: Cell, kind: Kind) -> bool:
    """Send all whole windows that are alike, from the beginning of a window on; False where there is none.

    In each of them all pages cost the same, and no sync, timer, deadline or verdict falls into it.
    """
    if state.xbzrle_started or kind.waits_in_calls:
        return False
    i = state.cursor
    while not memory.unsent[i] > 0:
        i = i + 1 if i + 1 < len(memory.unsent) else 0
    zeros = memory.part[i] == ZERO_PART
    once = kind.xbzrle > 0 or kind.multifd > 0  # what happens at the end of RAM ends the repetition
    if once and i < state.cursor:
        return False
    page_s = page_s_of(memory, state, cell, i)
    all_sent_before = not (once or state.first_left or state.zero_left)
    page_bytes = page_bytes_of(memory, cell, i)
    if page_s != state.full_page_s or page_bytes != state.full_page_bytes:
        if page_s <= 0 and state.quota == inf:
            return False
        measure_window(state, cell, page_s, page_bytes)
    pages, seconds, size = state.full_pages, state.full_s, state.full_stream
    calls, threshold = state.full_calls, state.full_threshold
    if state.threshold != threshold and stands_still(state, cell, kind, threshold):
        return False
    until = min(cell.deadline_s, state.next_tick)
    if not settled(state, cell, kind):
        until = min(until, state.since + SETTLED_S)
    above_threshold = state.remaining / pages - max(state.threshold, threshold) / (pages * PAGE_BYTES)
    many = floor(min(above_threshold, (until - state.now) / seconds)) - 1.0
    if many < 1:
        return False
    if not all_sent_before:
        ahead = alike_pages(memory, state, cell, i, many * pages, page_s, once) / pages
        # The window that reaches the end of RAM, exactly too, is an iterate call of its own: there XBZRLE starts.
        many = min(many, floor(ahead - (SAME_COST if once else 0.0)))
        if many < 1:
            return False
    window_lost_s = 0.0
    if kind.multifd:
        window_lost_s = lost_s(losses_of(cell), (1 - zeros) * pages, zeros * pages, page_s)
        if next_share(state.share, window_lost_s, seconds) != state.share:
            return False
    state.cursor = i
    raw, zero = state.normal, state.duplicate
    send(memory, state, cell, inf, many * pages * page_bytes, pages, seconds - pages * page_s, False)
    # The last of these windows ends as any window does.
    state.now = state.window_start + many * seconds
    state.ram_stream += many * (size - calls * SECTION_BYTES)
    state.other_stream += many * calls * SECTION_BYTES
    state.window_start, state.window_pages = state.now - seconds, handled(state) - pages
    state.window_stream = state.ram_stream + state.other_stream - size
    if kind.multifd:
        recount_as_packets(state, cell, kind, raw, zero)
        state.window_lost_s = window_lost_s
    end_window(state, cell, kind)
    return True


def measure_window(state: State, cell: Cell, page_s: float, page_bytes: float) -> None:
    """Note what a whole window of pages of one cost carries."""
    pages, seconds, size, calls = full_window(state.quota, page_s, page_bytes, cell.wake_up_s)
    estimate = close_window(
        size, pages, seconds, cell.downtime_limit_ms, 0.0, 0.0, cell.switchover_bytes_per_s
    )
    state.full_page_s, state.full_page_bytes = page_s, page_bytes
    state.full_threshold = estimate.threshold_bytes
    state.full_pages, state.full_s, state.full_stream, state.full_calls = pages, seconds, size, calls


def alike_pages(
    memory: Memory, state: State, cell: Cell, i: int, wanted: float, page_s: float, once: bool
) -> float:
    """Count pages from segment `i` on before the first one of another cost; the count may stop once it is `wanted`.

    With `once` it stops at the end of RAM.
    """
    zeros = memory.part[i] == ZERO_PART
    found, passed, count = 0.0, 0, len(memory.unsent)
    while passed < count and found < wanted:
        end = min(memory.block_end[i], i + count - passed)
        block = left_in(memory, i, end)
        if is_alike(cell, block, zeros, page_s):
            found += block.raw + block.zero
        else:
            for k in range(i, end):
                unsent = memory.unsent[k]
                if unsent > 0:
                    difference_s = abs(page_s_of(memory, state, cell, k) - page_s)
                    if (memory.part[k] == ZERO_PART) != zeros or difference_s > SAME_COST * page_s:
                        return found
                    found += unsent
        passed += end - i
        i = end if end < count else 0
        if once and i == 0:
            break
    return found


def is_alike(cell: Cell, left: Left, zeros: bool, page_s: float) -> bool:
    """Whether all that is left is of one kind (with `zeros` zero pages), and costs `page_s` a page."""
    if zeros or left.zero > 0:
        return zeros and not left.raw > 0
    most = (1 - SAME_COST) * left.raw
    one_kind = left.fresh >= most or not left.first > 0 or (left.first >= most and not left.fresh > 0)
    return one_kind and abs(seconds_of(cell, left) - page_s * left.raw) <= SAME_COST * page_s * left.raw
