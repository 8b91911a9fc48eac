"""XBZRLE's cache in the batch engine: the fluid cache with ageing (`models.xbzrle_fluid`), by numbers alone.

Functions here run as Python and compile as they are (`batch_compile`), but for `cache_of`.
"""

# Fields of records are numbers that mypy does not know.
# mypy: disable-error-code="no-any-return, return-value, assignment, arg-type"
from __future__ import annotations

from math import exp
from typing import Any, NamedTuple

import numpy as np

from migsim.engine.batch.records import Floats, Ints, Memory, Records, record
from migsim.engine.events.xbzrle import side_by_side
from migsim.engine.segments import Segments
from migsim.models.dirty.page_writes import random_fraction, sweep_fraction
from migsim.models.xbzrle.content import encoding_table, false_dirty_pages, false_dirty_share
from migsim.models.xbzrle.fluid_cache import FluidXbzrleCache, aged_step, hazard_of, hits_without_insertion
from migsim.models.xbzrle.page_contents import PageWrites
from migsim.workload import Workload

__all__ = ["NOT_YET", "Cache", "cache_of", "forget", "grow_old", "look_up", "put", "written_share"]

NOT_YET = -1.0
"""Guest time of a segment that was not visited since the last sync."""

PLACE = record("sent visited visiting dirty false_dirty", "segment begin end content")
"""A written segment: tracks `begin` to `end`, what writes do to its pages (-1: unknown), when it was visited."""

TRACK = record("k covered width young middle old mark", "bin alone")
"""What a run of a segment holds of a bin, by age: see `migsim.models.xbzrle.fluid_cache`; in a bin that it has
`alone` nobody takes anything from it."""

BIN = record("hazard all_old free")

CONTENT = record("whole", "in_order")


class Cache(NamedTuple):
    """Records of `PLACE`, `TRACK`, `BIN` and `CONTENT`, the place of each segment, and tables of encodings."""

    places: Records
    tracks: Records
    bins: Records
    contents: Records
    place_of: Ints
    length: Floats
    overflow: Floats


def cache_of(segments: Segments, workload: Workload, pages: int) -> Cache:
    """Lay out a cache of `pages` slots."""
    held = segments.rate > 0
    layout = FluidXbzrleCache(side_by_side(segments)[held], segments.pages[held], pages, aged=True).layout()
    known = [(i, c.content) for i, c in enumerate(workload.classes) if c.content is not None]
    tables = [
        encoding_table(PageWrites(c.bytes_a_write, c.places, c.same_fraction, in_order=c.in_order))
        for _, c in known
    ]
    number = np.full(len(workload.classes), -1)
    number[[i for i, _ in known]] = np.arange(len(known))
    places, tracks = np.zeros(int(held.sum()), PLACE), np.zeros(len(layout.bin), TRACK)
    places["segment"], places["begin"], places["end"] = np.flatnonzero(held), layout.begin, layout.end
    places["content"] = number[segments.of_class[held]] if len(places) else -1
    for name in ("k", "covered", "width", "bin"):
        tracks[name] = getattr(layout, name)
    tracks["alone"] = np.bincount(layout.bin, minlength=layout.bins)[layout.bin] == 1
    contents = np.zeros(len(known), CONTENT)
    contents["whole"] = [c.whole_fraction for _, c in known]
    contents["in_order"] = [c.in_order for _, c in known]
    return Cache(
        places,
        tracks,
        np.zeros(layout.bins, BIN),
        contents,
        np.where(held, np.cumsum(held) - 1, -1),
        _rows([t[0] for t in tables]),
        _rows([t[1] for t in tables]),
    )


def _rows(tables: list[list[float]]) -> Floats:
    return np.array(tables, float) if tables else np.zeros((0, 0))


def forget(cache: Cache) -> None:
    """Empty the cache."""
    for p in range(len(cache.places)):
        place = cache.places[p]
        place.sent = place.visited = place.dirty = place.false_dirty = 0.0
        place.visiting = NOT_YET
    for t in range(len(cache.tracks)):
        track = cache.tracks[t]
        track.young = track.middle = track.old = track.mark = 0.0
    for b in range(len(cache.bins)):
        cache.bins[b].hazard = cache.bins[b].all_old = 0.0
        cache.bins[b].free = 1.0


def written_share(rate: float, sweeps: int, seconds: float) -> float:
    """Share of a segment's pages written in some guest time."""
    return sweep_fraction(rate, seconds) if sweeps else random_fraction(rate, seconds)


def grow_old(cache: Cache, m: Memory, s: Any) -> None:
    """Note a bitmap sync just done: everything held grows older, and some of what is dirty holds nothing new."""
    for b in range(len(cache.bins)):
        cache.bins[b].all_old = 0.0
    for t in range(len(cache.tracks)):
        track = cache.tracks[t]
        place = cache.bins[track.bin]
        old = track.old
        if old > 0 and not track.alone:
            old *= exp(track.mark - place.hazard)
        track.old, track.middle = old + track.middle, track.young
        track.young = track.mark = 0.0
        place.all_old += track.old
    for b in range(len(cache.bins)):
        cache.bins[b].hazard = 0.0
    before_part, written = -1, 0.0
    for p in range(len(cache.places)):
        place = cache.places[p]
        place.sent, share = 0.0, 0.0
        visiting, sent, dirty = place.visiting, m.last_sent[place.segment], m.unsent[place.segment]
        part = m.parts[m.part[place.segment]]
        rate = m.rates[part.of_class]
        if visiting != NOT_YET:
            cleared = s.guest_before_s + part.clearing * (s.guest_s - s.guest_before_s)
            before = written_share(rate, part.sweeps, max(visiting - cleared, 0.0))
            after = written_share(rate, part.sweeps, max(s.guest_s - visiting, 0.0))
            share = false_dirty_share(before, after, part.sweeps)
            place.visited, place.visiting = visiting, NOT_YET
        if m.part[place.segment] != before_part:
            before_part = m.part[place.segment]
            written = written_share(rate, part.sweeps, s.guest_s - s.guest_before_s)
        left = max(place.dirty - sent, 0.0)
        false = false_dirty_pages(sent, share, left, place.false_dirty, written)
        place.false_dirty = min(max(false / max(dirty, 1e-9), 0.0), 1.0)
        place.dirty = dirty


def look_up(cache: Cache, place: Any, pages: float, of: float) -> float:
    """Hits among pages of a place that take no slot; `of` is how many pages it has."""
    left = of - place.sent
    if pages <= 0 or left <= 0:
        return 0.0
    q = min(pages / left, 1.0)
    hits = 0.0
    for t in range(place.begin, place.end):
        track = cache.tracks[t]
        old = track.old
        if old > 0 and not track.alone:
            old *= exp(track.mark - cache.bins[track.bin].hazard)
        hits += hits_without_insertion(q, track.middle, old) * track.width
    return min(hits, pages)


def put(cache: Cache, place: Any, pages: float, of: float) -> tuple[float, float]:
    """Send pages of a place: hits, and pages that took a slot."""
    left = of - place.sent
    if pages <= 0 or left <= 0:
        return 0.0, 0.0
    q = min(pages / left, 1.0)
    hits, inserted = 0.0, 0.0
    for t in range(place.begin, place.end):
        track = cache.tracks[t]
        here = cache.bins[track.bin]
        k, old = track.k, track.old
        if old > 0 and not track.alone:
            old *= exp(track.mark - here.hazard)
        first = q if k == 1.0 else 1 - (1 - q) ** k
        step = aged_step(q, first, k, track.covered, track.young, track.middle, old, here.all_old, here.free)
        track.young, track.middle, track.old = step.young, step.middle, step.old
        here.all_old, here.free = step.all_old, step.free
        if not track.alone:
            here.hazard += hazard_of(step.taken)
            track.mark = here.hazard
        hits += step.found * track.width
        inserted += step.inserted * track.width
    place.sent += q * left
    return min(hits, pages), min(inserted, max(pages - hits, 0.0))
