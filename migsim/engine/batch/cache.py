"""XBZRLE's cache in the batch engine: the fluid cache with ageing (`migsim.models.xbzrle.fluid_cache`) as records.

All functions but `cache_of` are compiled, and run as Python too.
"""

# Laws that are declared for arrays get numbers here.
# mypy: disable-error-code="arg-type, assignment, return-value"
from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import NamedTuple, Protocol

import numpy as np

from migsim.engine.batch.ram import Ints, Memory
from migsim.engine.batch.records import Floats, State, empty_records, record_type
from migsim.engine.events.xbzrle import side_by_side
from migsim.engine.segments import Segments
from migsim.models.dirty.page_writes import random_fraction, sweep_fraction
from migsim.models.xbzrle.content import encoding_table, false_dirty_pages, false_dirty_share
from migsim.models.xbzrle.fluid_cache import FluidXbzrleCache, aged_step, hazard_of, hits_without_insertion
from migsim.models.xbzrle.page_contents import PageWrites
from migsim.workload import Workload

__all__ = [
    "BIN",
    "CONTENT",
    "NOT_VISITED",
    "PLACE",
    "TRACK",
    "Bin",
    "Cache",
    "Content",
    "Place",
    "Track",
    "age",
    "cache_of",
    "empty_cache",
    "insert",
    "look_up",
    "written_share",
]

NOT_VISITED = -1.0
"""Guest time at which a segment was visited, where it was not visited since the last sync."""


class Place(Protocol):
    """A written segment in the cache."""

    segment: int
    begin: int  # its tracks: from `begin` to before `end`
    end: int
    content: int  # number of what writes do to its pages; -1: unknown
    sent: float  # pages sent since the last sync
    visited: float  # guest time at which it was last sent, up to the last sync
    visiting: float  # and at which it was first sent since; or `NOT_VISITED`
    dirty: float  # pages dirty at the last sync
    false_dirty: float  # share of them that hold nothing new


class Track(Protocol):
    """What a run of a segment holds of one bin, by age: see `migsim.models.xbzrle.fluid_cache`."""

    bin: int
    alone: int  # no other track lies in the bin, so nothing is taken from this one
    k: float
    covered: float
    width: float
    young: float
    middle: float
    old: float
    mark: float


class Bin(Protocol):
    """Slots of the cache that the same tracks use: what is held old by all, what is free, and the hazard so far."""

    hazard: float
    all_old: float
    free: float


class Content(Protocol):
    """What the writes of a class do to its pages: the share replaced whole, and whether they come in order."""

    whole: float
    in_order: int


PLACE, TRACK, BIN, CONTENT = record_type(Place), record_type(Track), record_type(Bin), record_type(Content)


class Cache(NamedTuple):
    """The cache of one size, for the segments of one guest.

    Attributes
    ----------
    places, tracks, bins, contents : sequence of Place, Track, Bin, Content
    place_of : ndarray of int
        The place of each segment; -1: it never goes through the cache.
    length, overflow : ndarray
        Tables of encodings, a row a content (`migsim.models.xbzrle.content.encoding_table`).
    """

    places: Sequence[Place]
    tracks: Sequence[Track]
    bins: Sequence[Bin]
    contents: Sequence[Content]
    place_of: Ints
    length: Floats
    overflow: Floats


def cache_of(segments: Segments, workload: Workload, pages: int) -> Cache:
    """Lay out a cache of `pages` slots."""
    cached = segments.rate > 0
    layout = FluidXbzrleCache(
        side_by_side(segments)[cached], segments.pages[cached], pages, aged=True
    ).layout()
    known = [(i, c.content) for i, c in enumerate(workload.classes) if c.content is not None]
    tables = [
        encoding_table(PageWrites(c.bytes_a_write, c.places, c.same_fraction, in_order=c.in_order))
        for _, c in known
    ]
    content_of_class = np.full(len(workload.classes), -1)
    content_of_class[[i for i, _ in known]] = np.arange(len(known))
    places, tracks = empty_records(int(cached.sum()), PLACE), empty_records(len(layout.bin), TRACK)
    places["segment"], places["begin"], places["end"] = np.flatnonzero(cached), layout.begin, layout.end
    places["content"] = content_of_class[segments.of_class[cached]] if len(places) else -1
    for name in ("k", "covered", "width", "bin"):
        tracks[name] = getattr(layout, name)
    tracks["alone"] = np.bincount(layout.bin, minlength=layout.bins)[layout.bin] == 1
    contents = empty_records(len(known), CONTENT)
    contents["whole"] = [c.whole_fraction for _, c in known]
    contents["in_order"] = [c.in_order for _, c in known]
    return Cache(
        places,
        tracks,
        empty_records(layout.bins, BIN),
        contents,
        np.where(cached, np.cumsum(cached) - 1, -1),
        _rows([t[0] for t in tables]),
        _rows([t[1] for t in tables]),
    )


def _rows(tables: list[list[float]]) -> Floats:
    return np.array(tables, float) if tables else np.zeros((0, 0))


def empty_cache(cache: Cache) -> None:
    """Empty the cache."""
    for p in range(len(cache.places)):
        place = cache.places[p]
        place.sent = place.visited = place.dirty = place.false_dirty = 0.0
        place.visiting = NOT_VISITED
    for t in range(len(cache.tracks)):
        track = cache.tracks[t]
        track.young = track.middle = track.old = track.mark = 0.0
    for b in range(len(cache.bins)):
        cache.bins[b].hazard = cache.bins[b].all_old = 0.0
        cache.bins[b].free = 1.0


def written_share(rate: float, sweeps: int, seconds: float) -> float:
    """Share of a segment's pages that are written in some guest time."""
    return sweep_fraction(rate, seconds) if sweeps else random_fraction(rate, seconds)


def age(cache: Cache, memory: Memory, state: State) -> None:
    """Note a bitmap sync just done: everything held grows older, and some of what is dirty holds nothing new.

    The event engine's `XbzrleSender.new_generation` in numbers.
    """
    for b in range(len(cache.bins)):
        cache.bins[b].all_old = 0.0
    for t in range(len(cache.tracks)):
        track = cache.tracks[t]
        bin_of = cache.bins[track.bin]
        old = track.old
        if old > 0 and not track.alone:
            old *= exp(track.mark - bin_of.hazard)
        track.old, track.middle = old + track.middle, track.young
        track.young = track.mark = 0.0
        bin_of.all_old += track.old
    for b in range(len(cache.bins)):
        cache.bins[b].hazard = 0.0
    last_part, written = -1, 0.0
    for p in range(len(cache.places)):
        place = cache.places[p]
        place.sent, share = 0.0, 0.0
        visiting = place.visiting
        sent, dirty = memory.last_sent[place.segment], memory.unsent[place.segment]
        part = memory.parts[memory.part[place.segment]]
        rate = memory.rates[part.of_class]
        if visiting != NOT_VISITED:
            visiting = state.writing_before_s + state.activity * (visiting - state.writing_before_s)
            cleared = state.writing_before_s + part.clearing * (state.writing_s - state.writing_before_s)
            before = written_share(rate, part.sweeps, max(visiting - cleared, 0.0))
            after = written_share(rate, part.sweeps, max(state.writing_s - visiting, 0.0))
            share = false_dirty_share(before, after, part.sweeps)
            place.visited, place.visiting = visiting, NOT_VISITED
        if memory.part[place.segment] != last_part:
            last_part = memory.part[place.segment]
            written = written_share(rate, part.sweeps, state.writing_s - state.writing_before_s)
        left = max(place.dirty - sent, 0.0)
        false = false_dirty_pages(sent, share, left, place.false_dirty, written)
        place.false_dirty = min(max(false / max(dirty, 1e-9), 0.0), 1.0)
        place.dirty = dirty


def look_up(cache: Cache, place: Place, pages: float, place_pages: float) -> float:
    """Hits among pages of a place that holds `place_pages`; misses take no slot."""
    left = place_pages - place.sent
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


def insert(cache: Cache, place: Place, pages: float, place_pages: float) -> tuple[float, float]:
    """Send pages of a place that holds `place_pages`: the hits among them, and the misses that took a slot."""
    left = place_pages - place.sent
    if pages <= 0 or left <= 0:
        return 0.0, 0.0
    q = min(pages / left, 1.0)
    hits, inserted = 0.0, 0.0
    for t in range(place.begin, place.end):
        track = cache.tracks[t]
        bin_of = cache.bins[track.bin]
        k, old = track.k, track.old
        if old > 0 and not track.alone:
            old *= exp(track.mark - bin_of.hazard)
        first = q if k == 1.0 else 1 - (1 - q) ** k
        step = aged_step(
            q, first, k, track.covered, track.young, track.middle, old, bin_of.all_old, bin_of.free
        )
        track.young, track.middle, track.old = step.young, step.middle, step.old
        bin_of.all_old, bin_of.free = step.all_old, step.free
        if not track.alone:
            bin_of.hazard += hazard_of(step.taken)
            track.mark = bin_of.hazard
        hits += step.found * track.width
        inserted += step.inserted * track.width
    place.sent += q * left
    return min(hits, pages), min(inserted, max(pages - hits, 0.0))
