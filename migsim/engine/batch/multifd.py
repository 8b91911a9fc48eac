"""Multifd in the batch engine: `multifd.MultifdSender`, by numbers alone.

Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from typing import Any

from migsim.engine.events.multifd import SHARE_STEP
from migsim.models.loop.page_stream import ITERATE_BYTES, ZERO_PAGE_BYTES
from migsim.models.multifd.packets import GREETING_BYTES, counted_bytes, counted_pages, wait_bytes
from migsim.models.multifd.threads import lost_a_page_s

__all__ = ["SHARE_STEP", "finish", "greet", "lost_of", "note_call", "through_channels"]

LEGACY, CHANNELS, NOBODY = 0, 1, 2
"""Who finds zero pages: the migration thread, the channels, nobody."""


def greet(s: Any, c: Any, kind: Any) -> None:
    """Count the channels' greetings, and their wait at the end of the setup."""
    count(s, GREETING_BYTES * c.channels)
    wait(s, c, kind)


def count(s: Any, size: float) -> None:
    """Count bytes of the channels."""
    s.multifd_stream += size
    s.ram_stream += size


def wait(s: Any, c: Any, kind: Any) -> None:
    """Let the channels wait for each other."""
    count(s, wait_bytes(s.queued_pages, c.channels))
    s.ram_stream += kind.flush_bytes
    s.queued_pages = 0.0


def through_channels(s: Any, c: Any, kind: Any, raw_before: float, zero_before: float) -> float:
    """Count pages taken since, and return the bytes that they were counted with as plain ones."""
    raw, zero = s.normal - raw_before, s.duplicate - zero_before
    s.normal, s.duplicate = raw_before, zero_before
    count_pages(s, kind, raw, zero)
    return raw * c.raw_bytes + zero * c.zero_bytes


def count_pages(s: Any, kind: Any, raw: float, zero: float) -> None:
    """Count pages that are not zero, and zero ones, by who finds these."""
    who = "legacy" if kind.zero_pages == LEGACY else "multifd" if kind.zero_pages == CHANNELS else "none"
    if kind.zero_pages == LEGACY:
        s.ram_stream += zero * ZERO_PAGE_BYTES
    whole, through = counted_pages(raw, zero, who)
    count(s, counted_bytes(whole, through))
    s.queued_pages += through
    s.normal += whole
    s.duplicate += raw + zero - whole


def lost_of(c: Any, zero: float, raw: float, raw_page_s: float) -> float:
    """Time that the guest loses of its processors to some pages."""
    if not c.busy:
        return 0.0
    lost = zero * c.zero_lost_s
    if raw > 0:
        lost += raw * lost_a_page_s(
            raw_page_s, c.page_s_0, c.page_s_1, c.page_s_2, c.lost_s_0, c.lost_s_1, c.lost_s_2
        )
    return lost


def note_call(s: Any, c: Any, kind: Any, raw: float, zero: float, begun: float, cursor: int) -> None:
    """Count an iterate call that went through the channels, from what the counters, time and cursor were before it."""
    raw_sent, zero_sent = s.normal - raw, s.duplicate - zero
    plain = through_channels(s, c, kind, raw, zero)  # which changes it, too
    s.ram_stream -= plain
    raw_s = s.now - begun - zero_sent * c.zero_page_s
    s.window_lost_s += lost_of(c, zero_sent, raw_sent, raw_s / max(raw_sent, 1e-12))
    if s.cursor < cursor or s.remaining == 0 or kind.waits_in_calls:
        wait(s, c, kind)


def finish(s: Any, c: Any, kind: Any, end: Any) -> None:
    """Count the last pages and the channels' last wait; the main channel's part is noted."""
    main_before = s.ram_stream - s.multifd_stream
    count_pages(s, kind, end.again + end.first + end.fresh, end.zero)
    wait(s, c, kind)
    if kind.waits_at_end and not kind.waits_in_calls:
        wait(s, c, kind)
    s.ram_stream += ITERATE_BYTES
    end.blackout_bytes = s.ram_stream - s.multifd_stream - main_before
