"""XBZRLE in the batch engine: `xbzrle.XbzrleSender`, by numbers alone.

Functions here run as Python and compile as they are (`batch_compile`).
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from migsim.engine.batch.cache import NOT_YET, Cache, look_up, put, written_share
from migsim.engine.batch.memory import NOTHING, run_s
from migsim.engine.batch.records import ZERO, Memory
from migsim.engine.batch.sending import Sent, end_call, note_chunk, send
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.query_migrate import encoding_rate
from migsim.models.loop.rate_limit import ITERATE_MAX_S
from migsim.models.xbzrle.content import interpolated, left_encoded, overflow_of_changed
from migsim.models.xbzrle.encoding import RECORD_BYTES, xbzrle_seconds

__all__ = ["call_coded", "close_cache_period", "encode_left"]


class Coded(NamedTuple):
    """What became of some pages: as `xbzrle.Encoded`."""

    raw: float
    stream_bytes: float
    extra_s: float


def encode(
    cache: Cache, m: Memory, s: Any, c: Any, kind: Any, i: int, pages: float, guest_s: float, last: bool
) -> Coded:
    """Send pages of a segment through the cache, as they are at a guest time."""
    hits, refused = 0.0, 0.0
    length, overflow, unchanged = 0.0, 1.0, 0.0
    if cache.place_of[i] >= 0:
        place = cache.places[cache.place_of[i]]
        if last:
            hits = look_up(cache, place, pages, m.pages[i])
            refused = pages - hits
        else:
            hits, inserted = put(cache, place, pages, m.pages[i])
            refused = pages - hits - inserted
        if place.visiting == NOT_YET:
            place.visiting = guest_s
        if hits > 0:
            part = m.parts[m.part[i]]
            rate = m.rates[part.of_class]
            if place.false_dirty > 0:
                still = written_share(rate, part.sweeps, max(guest_s - s.guest_s, 0.0))
                unchanged = place.false_dirty * (1 - still)
            overflow = 1 - unchanged
            n = place.content
            if n >= 0:
                mean = max(rate * (guest_s - place.visited), 1e-3)
                content = cache.contents[n]
                law = interpolated(cache.length[n], cache.overflow[n], content.in_order > 0, mean)
                length = law.encoded_bytes
                overflow *= overflow_of_changed(content.whole, law)
    misses = pages - hits
    overflowing, encoded = hits * overflow, hits * left_encoded(overflow, unchanged)
    s.cache_miss += misses
    s.xbzrle_overflow += overflowing
    s.xbzrle_pages += hits if kind.hits_are_pages else encoded
    s.xbzrle_bytes += encoded * (length + kind.encoding_counts) + overflowing * kind.overflow_counts
    raw = misses + overflowing
    return Coded(
        raw,
        raw * NORMAL_PAGE_BYTES + encoded * (RECORD_BYTES + length),
        xbzrle_seconds(hits, misses, c.xbzrle_hit_s, c.xbzrle_miss_s, refused),
    )


def guest_now_s(s: Any, c: Any, at: float) -> float:
    """Guest time, the faults since the last sync left out."""
    return s.guest_s + run_s(s, c, at) - s.synced_at


def call_coded(cache: Cache, m: Memory, s: Any, c: Any, kind: Any, budget_bytes: float) -> None:
    """One iterate call: as pages are until RAM was gone through, from then on through the cache, all of it data."""
    done = Sent(0.0, 0.0, False)
    if not s.started:
        done = send(m, s, c, ITERATE_MAX_S, budget_bytes, inf, 0.0, True)
        if done.full:
            end_call(s, done)
            return
        s.started, s.quota = 1, s.coded_quota
    seconds, size, full = done.seconds, done.stream_bytes, False
    count, i, passed = len(m.unsent), s.cursor, 0
    page_s = c.normal_page_s
    most_s = page_s + max(c.xbzrle_hit_s, c.xbzrle_miss_s)
    while passed <= count and s.remaining > NOTHING:
        took_s, took_bytes = most_s, float(NORMAL_PAGE_BYTES)
        while m.unsent[i] > 0:
            left = m.unsent[i]
            in_time = (ITERATE_MAX_S - seconds) / max(took_s, 1e-12)
            most = min(left, in_time, (budget_bytes - size) / max(took_bytes, 1e-3))
            if most <= 0 or most < min(left, 1.0):
                full = True
                break
            at = s.now + seconds
            note_chunk(m, s, c, i, seconds)
            take(m, s, i, most)
            made = encode(cache, m, s, c, kind, i, most, guest_now_s(s, c, at), False)
            s.normal += made.raw
            took_s, took_bytes = (made.raw * page_s + made.extra_s) / most, made.stream_bytes / most
            seconds += took_s * most
            size += made.stream_bytes
        if full:
            break
        i = i + 1 if i + 1 < count else 0
        passed += 1
    s.cursor = i
    end_call(s, Sent(seconds, size, full))


def take(m: Memory, s: Any, i: int, pages: float) -> None:
    """Clear the bits of some pages of a segment."""
    rest = m.unsent[i] - pages
    m.unsent[i] = rest if rest > NOTHING else 0.0
    m.sent[i] += pages
    s.remaining -= pages


def encode_left(cache: Cache, m: Memory, s: Any, c: Any, kind: Any, end: Any) -> None:
    """Encode what is left, the guest standing still."""
    at = guest_now_s(s, c, s.now)
    end.coded = 1
    for i in range(len(m.unsent)):
        if m.unsent[i] > 0 and m.part[i] != ZERO:
            made = encode(cache, m, s, c, kind, i, m.unsent[i], at, True)
            end.coded_raw += made.raw
            end.coded_bytes += made.stream_bytes
            end.coded_extra_s += made.extra_s


def close_cache_period(s: Any) -> None:
    """Close a dirty-rate period: the rates that QMP shows; a period in which nothing was sent changes neither."""
    target = s.normal + s.duplicate + s.xbzrle_pages
    handled = target - s.before_target
    if handled > 0:
        s.cache_miss_rate = (s.cache_miss - s.before_miss) / handled
        s.encoding_rate = encoding_rate(s.xbzrle_pages - s.before_pages, s.xbzrle_bytes - s.before_bytes)
        s.before_miss, s.before_target = s.cache_miss, target
        s.before_pages, s.before_bytes = s.xbzrle_pages, s.xbzrle_bytes
