"""XBZRLE in a replay: the exact cache, and lengths drawn from the trace's samples.

The laws are `migsim.models.xbzrle.encoding` and `xbzrle_cache`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.engine.pages.contents import SampledLengths
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.loop.query_migrate import XbzrleCounters
from migsim.models.xbzrle.cache import XbzrleCache, cache_pages, xbzrle_rules
from migsim.models.xbzrle.encoding import counted_bytes, record_bytes, xbzrle_seconds
from migsim.qapi import QemuVersion

__all__ = ["Looked", "PageXbzrle"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Looked(NamedTuple):
    """What sending pages would do, arrays over the pages.

    Attributes
    ----------
    found : ndarray of bool
        In the cache.
    length : ndarray of int64
        Of the encoding where found: 0 unchanged, -1 overflow.
    raw : ndarray of bool
        Sent whole: not found, or overflowing.
    stream_bytes : ndarray of int64
        In the stream.
    extra_s : ndarray of float
        Sender's time besides that of sending a raw page.
    """

    found: Bools
    length: Ints
    raw: Bools
    stream_bytes: Ints
    extra_s: Floats


class PageXbzrle:
    """The sender's cache, page by page.

    Parameters
    ----------
    lengths : SampledLengths
    rng : numpy.random.Generator
    cache_size_bytes : int
        `xbzrle-cache-size`.
    version : QemuVersion
    terms : mapping
        Host terms `xbzrle_hit_s` and `xbzrle_miss_s`.

    Attributes
    ----------
    started : bool
        Whether pages go through the cache: from 1.5 on once every page was sent.
    cache : XbzrleCache
    counters : XbzrleCounters
    lengths : SampledLengths
    """

    def __init__(
        self,
        lengths: SampledLengths,
        rng: np.random.Generator,
        *,
        cache_size_bytes: int,
        version: QemuVersion,
        terms: Mapping[str, float],
    ) -> None:
        rules = xbzrle_rules(version)
        self.cache = XbzrleCache(cache_pages(cache_size_bytes, version), aged=rules.aged)
        self.counters = XbzrleCounters(cache_size=cache_size_bytes, hits_are_pages=rules.hits_are_pages)
        self.started = not rules.after_first_sweep
        self._zero_pages_cached = rules.zero_pages_cached
        self.lengths = lengths
        self._version, self._rng = version, rng
        costs = {name: terms[name] for name in ("xbzrle_hit_s", "xbzrle_miss_s")}
        self._hit_s, self._miss_s = xbzrle_seconds(1, 0, **costs), xbzrle_seconds(0, 1, **costs)
        self._refused_s = xbzrle_seconds(0, 1, refused=1, **costs)

    def start(self) -> None:
        """Let pages go through the cache from now on."""
        self.started = True

    def one_lap(self, pages: Ints) -> Ints:
        """Return the first of some ascending pages, as many as surely have a slot each."""
        laps = pages // self.cache.cache_pages
        return pages[: int(np.searchsorted(laps, laps[0], side="right"))]

    def look(
        self, pages: Ints, changed: Bools, since_s: Floats, generation: int, *, last_stage: bool = False
    ) -> Looked:
        """Say what sending pages would do, changing nothing but the draws of lengths.

        Parameters
        ----------
        pages : ndarray of int64
            None of them zero, no two of one slot.
        changed : ndarray of bool
            Whether they were written to since they were sent before.
        since_s : ndarray
            Guest time since then.
        generation : int
            Bitmap syncs so far.
        last_stage : bool
            Whether the guest has stopped.
        """
        found, refused = self.cache.look(pages, generation)
        length = np.zeros(len(pages), np.int64)
        drawn = found & changed
        length[drawn] = self.lengths.draw(pages[drawn], since_s[drawn], self._rng)
        missing_s = np.where(refused | last_stage, self._refused_s, self._miss_s)
        return Looked(
            found=found,
            length=length,
            raw=~found | (length < 0),
            stream_bytes=np.where(found, record_bytes(length), NORMAL_PAGE_BYTES),
            extra_s=np.where(found, self._hit_s, missing_s),
        )

    def send(self, pages: Ints, looked: Looked, generation: int, *, last_stage: bool = False) -> None:
        """Send the first of the pages that were looked up: `pages` are as many as go."""
        found, length = looked.found[: len(pages)], looked.length[: len(pages)]
        self.cache.access(pages, generation, insert=not last_stage)
        c = self.counters
        c.cache_miss += len(pages) - int(np.count_nonzero(found))
        c.overflow += int(np.count_nonzero(length[found] < 0))
        c.pages += int(np.count_nonzero(found if c.hits_are_pages else found & (length > 0)))
        c.bytes += int(counted_bytes(length[found], self._version).sum())

    def put_zero(self, pages: Ints, generation: int) -> None:
        """Note zero pages sent."""
        if self._zero_pages_cached:
            self.cache.put_zero(pages, generation)
