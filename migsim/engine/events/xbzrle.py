"""XBZRLE in the event engine: which pages of a segment the cache holds, how long their encodings get, what that costs.

The laws are `migsim.models.xbzrle.encoding`, `migsim.models.xbzrle.fluid_cache` (the cache) and
`migsim.models.xbzrle.content` (lengths of encodings).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from migsim.engine.segments import ZERO_CLASS, Segments
from migsim.engine.sending import Encoded, send_encoded
from migsim.models.dirty.page_writes import random_fraction, sweep_fraction
from migsim.models.loop.query_migrate import XbzrleCounters
from migsim.models.xbzrle.cache import cache_pages, xbzrle_rules
from migsim.models.xbzrle.content import (
    PageWrites,
    expected_encoding,
    false_dirty_pages,
    false_dirty_share,
    overflow_of_changed,
)
from migsim.models.xbzrle.encoding import counted_bytes
from migsim.models.xbzrle.fluid_cache import FluidXbzrleCache
from migsim.qapi import QemuVersion
from migsim.workload import PageContent, Workload

__all__ = ["XbzrleSender", "side_by_side"]

Floats = NDArray[np.float64]


class XbzrleSender:
    """The sender's cache, and the contents of the pages that go through it.

    Parameters
    ----------
    segments : Segments
    workload : Workload
        Its classes say how writes change their pages; a class that does not is taken to change whole pages.
    cache_size_bytes : int
        `xbzrle-cache-size`.
    version : QemuVersion
    terms : mapping
        Host terms `xbzrle_hit_s` and `xbzrle_miss_s`.

    Attributes
    ----------
    started : bool
        Whether pages go through the cache: from 1.5 on once every page was sent.
    counters : XbzrleCounters
    """

    def __init__(
        self,
        segments: Segments,
        workload: Workload,
        *,
        cache_size_bytes: int,
        version: QemuVersion,
        terms: Mapping[str, float],
    ) -> None:
        rules = xbzrle_rules(version)
        # A page that is never written is sent once: before the cache starts, where it starts after the first sweep.
        cached = segments.rate > 0 if rules.after_first_sweep else np.ones(len(segments), bool)
        self._place = np.where(cached, np.cumsum(cached) - 1, -1)
        self.cache = FluidXbzrleCache(
            side_by_side(segments)[cached],
            segments.pages[cached],
            cache_pages(cache_size_bytes, version),
            aged=rules.aged,
        )
        self.counters = XbzrleCounters(cache_size=cache_size_bytes, hits_are_pages=rules.hits_are_pages)
        self.started = not rules.after_first_sweep
        self.zero_pages_cached = rules.zero_pages_cached
        self.hit_s, self.miss_s = terms["xbzrle_hit_s"], terms["xbzrle_miss_s"]
        (self._overflow_counts,) = counted_bytes([-1], version)
        self._encoding_counts = int(counted_bytes([1], version)[0]) - 1
        self._rate, self._is_sweep = segments.rate, segments.is_sweep
        contents = [_writes_and_whole(c.content) for c in workload.classes]
        self._content = [None if c == ZERO_CLASS else contents[c] for c in segments.of_class]
        # Writing time at which each segment was last sent, and was first sent since the last sync.
        self._visited = np.zeros(len(segments))
        self._visiting = np.full(len(segments), np.nan)
        self._dirty = segments.pages.copy()  # at the last sync
        self._false_dirty = np.zeros(len(segments))  # share of these that hold nothing new
        self._synced_s = 0.0

    @property
    def worst_page_s(self) -> float:
        """Most that XBZRLE adds to a page's time."""
        return max(self.hit_s, self.miss_s)

    def start(self) -> None:
        """Let pages go through the cache from now on."""
        self.started = True

    def new_generation(
        self, sent: Floats, dirty: Floats, cleared_s: Floats, now_s: float, activity: float = 1.0
    ) -> None:
        """Note a bitmap sync.

        Parameters
        ----------
        sent, dirty : ndarray
            Pages of each segment sent since the last sync, and dirty after this one.
        cleared_s : ndarray
            Writing time at which the protect window of the sent ones began.
        now_s : float
            Writing time of the sync.
        activity : float
            How fast the guest wrote since the last sync; the visits since then were noted as if with 1.
        """
        self.cache.new_generation()
        visited = ~np.isnan(self._visiting)
        self._visiting = self._synced_s + activity * (self._visiting - self._synced_s)
        visit = np.where(visited, self._visiting, now_s)
        # A page that was written before it was sent, and not since, is dirty and holds nothing new.
        before = self._written(np.maximum(visit - cleared_s, 0.0))
        after = self._written(np.maximum(now_s - visit, 0.0))
        false = np.where(visited, false_dirty_share(before, after, self._is_sweep.astype(float)), 0.0)
        left = np.maximum(self._dirty - sent, 0.0)
        written = self._written(np.full(len(sent), now_s - self._synced_s))
        pages = false_dirty_pages(sent, false, left, self._false_dirty, written)
        self._false_dirty = np.clip(pages / np.maximum(dirty, 1e-9), 0.0, 1.0)
        self._dirty, self._synced_s = dirty, now_s
        self._visited[visited] = self._visiting[visited]
        self._visiting[:] = np.nan

    def _written(self, seconds: Floats) -> Floats:
        """Fraction of each segment's pages written in some writing time."""
        return np.where(
            self._is_sweep, sweep_fraction(self._rate, seconds), random_fraction(self._rate, seconds)
        )

    def put_zero(self, segment: int, pages: float) -> None:
        """Note zero pages sent."""
        if self.zero_pages_cached and self._place[segment] >= 0:
            self.cache.put_zero(int(self._place[segment]), pages)

    def send(self, segment: int, pages: float, at_s: float, *, last_stage: bool = False) -> Encoded:
        """Send pages of a segment that are not zero, with the contents that they have at a writing time."""
        refused = self.cache.refused
        place = int(self._place[segment])
        hits = self.cache.send(place, pages, insert=not last_stage) if place >= 0 else 0.0
        misses = pages - hits
        refused = self.cache.refused - refused if not last_stage else misses
        if np.isnan(self._visiting[segment]):
            self._visiting[segment] = at_s
        length, overflow, unchanged = self._encoding(segment, at_s) if hits > 0 else (0.0, 1.0, 0.0)
        sent = send_encoded(hits, misses, refused, length, overflow, unchanged, self.hit_s, self.miss_s)
        c = self.counters
        c.cache_miss += misses
        c.overflow += sent.overflowing
        c.encoded += sent.encoded
        c.pages += hits if c.hits_are_pages else sent.encoded
        c.bytes += sent.encoded * (length + self._encoding_counts) + sent.overflowing * self._overflow_counts
        return sent

    def _encoding(self, segment: int, at_s: float) -> tuple[float, float, float]:
        """Mean length of an encoding, share of the pages that overflow, share that is unchanged."""
        rate = float(self._rate[segment])
        unchanged = float(self._false_dirty[segment]) * (1 - self._written_since_sync(segment, at_s))
        content = self._content[segment]
        if content is None:
            return 0.0, 1 - unchanged, unchanged
        writes, whole = content
        law = expected_encoding(writes, max(rate * (at_s - float(self._visited[segment])), 1e-3))
        return law.encoded_bytes, (1 - unchanged) * overflow_of_changed(whole, law), unchanged

    def _written_since_sync(self, segment: int, at_s: float) -> float:
        law = sweep_fraction if self._is_sweep[segment] else random_fraction
        return float(law(float(self._rate[segment]), max(at_s - self._synced_s, 0.0)))


def side_by_side(segments: Segments) -> Floats:
    """Return first pages such that no two segments share a page.

    Where pages of two classes alternate, their extents overlap; in the cache each page has a slot of its own.
    """
    first_page, end = np.empty(len(segments)), 0.0
    for i in range(len(segments)):
        first_page[i] = max(float(segments.first_page[i]), end)
        end = first_page[i] + float(segments.pages[i])
    return first_page


def _writes_and_whole(content: PageContent | None) -> tuple[PageWrites, float] | None:
    """Arguments of the content law, and the share of pages that are replaced whole."""
    if content is None:
        return None
    writes = PageWrites(
        content.bytes_a_write, content.places, content.same_fraction, in_order=content.in_order
    )
    return writes, content.whole_fraction
