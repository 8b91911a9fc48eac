"""XBZRLE in a replay: the exact cache, and lengths of encodings drawn from the trace's samples.

The laws are `migsim.models.xbzrle.encoding` and `migsim.models.xbzrle.cache`.
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

__all__ = ["LookUp", "PageXbzrle"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class LookUp(NamedTuple):
    """What sending pages through the cache would do, as arrays over the pages.

    Attributes
    ----------
    found : ndarray of bool
        Whether the page is in the cache.
    length : ndarray of int64
        Length of the encoding of a page that is found; 0: unchanged, -1: overflow.
    raw : ndarray of bool
        Whether the page is sent whole: not found, or overflowing.
    stream_bytes : ndarray of int64
        Its bytes in the stream.
    extra_s : ndarray of float
        The sender's time beside that of sending a raw page.
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
        """Return the first of some ascending pages, as many as have a slot of their own for certain."""
        laps = pages // self.cache.cache_pages
        return pages[: int(np.searchsorted(laps, laps[0], side="right"))]

    def look(
        self, pages: Ints, changed: Bools, since_s: Floats, generation: int, *, last_stage: bool = False
    ) -> LookUp:
        """Say what sending pages would do; the cache stays as it is, lengths are drawn.

        Parameters
        ----------
        pages : ndarray of int64
            None of them is zero, and no two share a slot.
        changed : ndarray of bool
            Whether each was written to since it was last sent.
        since_s : ndarray
            Guest time since it was last sent.
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
        return LookUp(
            found=found,
            length=length,
            raw=~found | (length < 0),
            stream_bytes=np.where(found, record_bytes(length), NORMAL_PAGE_BYTES),
            extra_s=np.where(found, self._hit_s, missing_s),
        )

    def send(self, pages: Ints, look_up: LookUp, generation: int, *, last_stage: bool = False) -> None:
        """Send `pages`, which are the first of those that were looked up."""
        found, length = look_up.found[: len(pages)], look_up.length[: len(pages)]
        self.cache.access(pages, generation, insert=not last_stage)
        c = self.counters
        c.cache_miss += len(pages) - int(np.count_nonzero(found))
        c.overflow += int(np.count_nonzero(length[found] < 0))
        encoded = int(np.count_nonzero(found & (length > 0)))
        c.encoded += encoded
        c.pages += int(np.count_nonzero(found)) if c.hits_are_pages else encoded
        c.bytes += int(counted_bytes(length[found], self._version).sum())

    def put_zero(self, pages: Ints, generation: int) -> None:
        """Note zero pages sent."""
        if self._zero_pages_cached:
            self.cache.put_zero(pages, generation)
