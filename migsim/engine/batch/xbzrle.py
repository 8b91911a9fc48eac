"""XBZRLE in the batch engine: what `migsim.engine.events.xbzrle.XbzrleSender` and the sending of its pages do.

Encodings are looked up in tables, where the event engine computes them. The functions are compiled, and run as Python
too.
"""

from __future__ import annotations

from math import inf

from migsim.engine.batch.cache import NOT_VISITED, Cache, insert, look_up, written_share
from migsim.engine.batch.memory import NO_PAGES
from migsim.engine.batch.ram import ZERO_PART, Memory
from migsim.engine.batch.records import Cell, Ended, Kind, State
from migsim.engine.batch.sending import CallTotals, end_call, note_chunk, send
from migsim.engine.guest_clock import run_s
from migsim.engine.sending import Encoded, send_encoded
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.query_migrate import encoding_rate
from migsim.models.loop.rate_limit import ITERATE_MAX_S
from migsim.models.xbzrle.content import interpolated, overflow_of_changed

__all__ = ["close_cache_period", "encode_left", "iterate_encoded"]


def encode(
    cache: Cache,
    memory: Memory,
    state: State,
    cell: Cell,
    kind: Kind,
    i: int,
    pages: float,
    at_s: float,
    last_stage: bool,
) -> Encoded:
    """Send pages of a segment through the cache, with the contents that they have at a guest time."""
    hits, refused = 0.0, 0.0
    length, overflow, unchanged = 0.0, 1.0, 0.0
    if cache.place_of[i] >= 0:
        place = cache.places[cache.place_of[i]]
        if last_stage:
            hits = look_up(cache, place, pages, memory.pages[i])
            refused = pages - hits
        else:
            hits, inserted = insert(cache, place, pages, memory.pages[i])
            refused = pages - hits - inserted
        if place.visiting == NOT_VISITED:
            place.visiting = at_s
        if hits > 0:
            part = memory.parts[memory.part[i]]
            rate = memory.rates[part.of_class]
            if place.false_dirty > 0:
                since_sync = written_share(rate, part.sweeps, max(at_s - state.writing_s, 0.0))
                unchanged = place.false_dirty * (1 - since_sync)
            overflow = 1 - unchanged
            n = place.content
            if n >= 0:
                writes = max(rate * (at_s - place.visited), 1e-3)
                content = cache.contents[n]
                law = interpolated(cache.length[n], cache.overflow[n], content.in_order > 0, writes)
                length = law.encoded_bytes
                overflow *= overflow_of_changed(content.whole, law)
    misses = pages - hits
    sent = send_encoded(
        hits, misses, refused, length, overflow, unchanged, cell.xbzrle_hit_s, cell.xbzrle_miss_s
    )
    state.cache_miss += misses
    state.xbzrle_overflow += sent.overflowing
    state.xbzrle_encoded += sent.encoded
    state.xbzrle_pages += hits if kind.hits_are_pages else sent.encoded
    state.xbzrle_bytes += sent.encoded * (length + kind.encoding_counts)
    state.xbzrle_bytes += sent.overflowing * kind.overflow_counts
    return sent


def writing_now_s(state: State, cell: Cell, now: float) -> float:
    """Guest time at `now`; time lost to faults since the last sync is not subtracted."""
    return state.writing_s + run_s(state, cell.load_fraction, now) - state.synced_at


def iterate_encoded(
    cache: Cache, memory: Memory, state: State, cell: Cell, kind: Kind, budget_bytes: float
) -> None:
    """Make an iterate call: pages go as they are until RAM was gone through once, and through the cache from then on.

    From then on no page is zero: zero pages are never written.
    """
    used = CallTotals(0.0, 0.0, False)
    if not state.xbzrle_started:
        used = send(memory, state, cell, ITERATE_MAX_S, budget_bytes, inf, 0.0, True)
        if used.full:
            end_call(state, used)
            return
        state.xbzrle_started, state.quota = 1, state.xbzrle_quota
    seconds, size, full = used.seconds, used.stream_bytes, False
    count, i, passed = len(memory.unsent), state.cursor, 0
    page_s = cell.normal_page_s
    worst_page_s = page_s + max(cell.xbzrle_hit_s, cell.xbzrle_miss_s)
    while passed <= count and state.remaining > NO_PAGES:
        # First assume the worst case (every page raw, and put into the cache); then use the cost of those just sent.
        took_s, took_bytes = worst_page_s, float(NORMAL_PAGE_BYTES)
        while memory.unsent[i] > 0:
            left = memory.unsent[i]
            in_time = (ITERATE_MAX_S - seconds) / max(took_s, 1e-12)
            most = min(left, in_time, (budget_bytes - size) / max(took_bytes, 1e-3))
            if most <= 0 or most < min(left, 1.0):
                full = True
                break
            at = state.now + seconds
            note_chunk(memory, state, cell, i, seconds)
            take(memory, state, i, most)
            sent = encode(cache, memory, state, cell, kind, i, most, writing_now_s(state, cell, at), False)
            state.normal += sent.raw
            took_s, took_bytes = (sent.raw * page_s + sent.extra_s) / most, sent.stream_bytes / most
            seconds += took_s * most
            size += sent.stream_bytes
        if full:
            break
        i = i + 1 if i + 1 < count else 0
        passed += 1
    state.cursor = i
    end_call(state, CallTotals(seconds, size, full))


def take(memory: Memory, state: State, i: int, pages: float) -> None:
    """Clear the bits of some pages of a segment."""
    rest = memory.unsent[i] - pages
    memory.unsent[i] = rest if rest > NO_PAGES else 0.0
    memory.sent[i] += pages
    state.remaining -= pages


def encode_left(cache: Cache, memory: Memory, state: State, cell: Cell, kind: Kind, end: Ended) -> None:
    """Encode the pages left once the guest has stopped."""
    at_s = writing_now_s(state, cell, state.now)
    end.encoded = 1
    for i in range(len(memory.unsent)):
        if memory.unsent[i] > 0 and memory.part[i] != ZERO_PART:
            sent = encode(cache, memory, state, cell, kind, i, memory.unsent[i], at_s, True)
            end.encoded_raw += sent.raw
            end.encoded_bytes += sent.stream_bytes
            end.encoded_extra_s += sent.extra_s


def close_cache_period(state: State) -> None:
    """End the dirty-rate period for the rates that QMP shows; a period in which nothing was sent changes neither."""
    sent_by_now = state.normal + state.duplicate + state.xbzrle_encoded
    sent_in_period = sent_by_now - state.period_sent
    if sent_in_period > 0:
        state.cache_miss_rate = (state.cache_miss - state.period_cache_miss) / sent_in_period
        state.encoding_rate = encoding_rate(
            state.xbzrle_pages - state.period_xbzrle_pages, state.xbzrle_bytes - state.period_xbzrle_bytes
        )
        state.period_cache_miss, state.period_sent = state.cache_miss, sent_by_now
        state.period_xbzrle_pages, state.period_xbzrle_bytes = state.xbzrle_pages, state.xbzrle_bytes
