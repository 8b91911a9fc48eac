"""Which pages XBZRLE's cache holds: direct-mapped, exact, page by page.

Law
---
A page of number a (its address in QEMU's RAM, in pages) has one slot, a mod C. A page sent is a hit where the slot
holds it; otherwise a miss, and it takes the slot

- always, up to 2.2;
- from 2.3 on only where the slot is free or its page was inserted or hit neither in this sync generation nor in the
  one before: g - entry's generation >= 2. A hit makes the entry young again. A page that is refused stays outside.

A zero page is no access but is written into the cache under the same rule (2.0 on). In the last stage, with the guest
stopped, a miss inserts nothing; a zero page does.

Resizing from 2.0 on starts with an empty cache; up to 1.7 the entries move over, and of two that meet in a slot the
one used last wins.

Mirrors: `migration/page_cache.c`, `migration/ram.c` save_xbzrle_page, 1.2 to 10.x.
Leaves out: memory that cannot be allocated for an entry. From 9.2 on every sync counts as a generation, background
syncs of auto-converge too: the caller counts.
Source: the mechanics reference, sections 4.2 to 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from migsim.errors import ParameterError
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES

__all__ = ["PROTECTED_GENERATIONS", "XbzrleCache", "XbzrleRules", "cache_pages", "xbzrle_rules"]

Ints = npt.NDArray[np.int64]

PROTECTED_GENERATIONS = 2
"""An entry that was used in one of the last generations, this many with the present one, is not replaced (2.3 on)."""

_NO_PAGE = -1


@dataclass(frozen=True, slots=True)
class XbzrleRules:
    """The differences between QEMU releases in the XBZRLE cache.

    Attributes
    ----------
    aged : bool
        Whether recently used entries are protected (2.3 on).
    zero_pages_cached : bool
        Whether zero pages are written into the cache (2.0 on).
    after_first_sweep : bool
        Whether XBZRLE is off until every page was sent once (1.5 on), so that the cache is empty before the second
        sweep.
    resize_moves : bool
        Whether a resize keeps the entries (up to 1.7).
    hits_are_pages : bool
        Whether `xbzrle-cache.pages` counts every hit (5.1 on) or only pages sent encoded.
    """

    aged: bool
    zero_pages_cached: bool
    after_first_sweep: bool
    resize_moves: bool
    hits_are_pages: bool


@lru_cache(maxsize=64)
def xbzrle_rules(version: QemuVersion) -> XbzrleRules:
    """Return the rules of a QEMU release.

    Examples
    --------
    >>> xbzrle_rules(QemuVersion.parse("2.2")).aged, xbzrle_rules(QemuVersion.parse("2.3")).aged
    (False, True)
    """

    def since(text: str) -> bool:
        return version >= QemuVersion.parse(text)

    return XbzrleRules(
        aged=since("2.3"),
        zero_pages_cached=since("2.0"),
        after_first_sweep=since("1.5"),
        resize_moves=not since("2.0"),
        hits_are_pages=since("5.1"),
    )


def cache_pages(cache_size_bytes: int, version: QemuVersion | None = None) -> int:
    """Return the number of pages that a cache of `xbzrle-cache-size` bytes holds.

    Parameters
    ----------
    cache_size_bytes : int
    version : QemuVersion, optional
        QEMU up to 2.10 rounds the number down to a power of two. Later releases, and no version, require one.

    Raises
    ------
    ParameterError
        For less than a page, or for no power of two where QEMU requires one.

    Examples
    --------
    >>> cache_pages(64 << 20), cache_pages(100 << 20, QemuVersion.parse("2.2"))
    (16384, 16384)
    """
    pages = int(cache_size_bytes) // PAGE_BYTES
    if pages < 1:
        raise ParameterError(
            f"xbzrle-cache-size is {cache_size_bytes} bytes.",
            f"QEMU's cache holds at least a page, {PAGE_BYTES} bytes.",
            f"Write {PAGE_BYTES} or more.",
        )
    below = 1 << (pages.bit_length() - 1)
    rounds_down = version is not None and version < QemuVersion.parse("2.11")
    if pages != below and not rounds_down:
        raise ParameterError(
            f"xbzrle-cache-size is {cache_size_bytes} bytes, that is {pages} pages.",
            "QEMU takes powers of two only.",
            f"Write {below * PAGE_BYTES} or {2 * below * PAGE_BYTES}.",
        )
    return below


class XbzrleCache:
    """The cache of one migration: 12 bytes a slot.

    Parameters
    ----------
    cache_pages : int
        Slots, a power of two.
    aged : bool
        Whether recently used entries are protected (2.3 on).

    Attributes
    ----------
    hits, misses, refused : int
        Accesses so far; `refused` are the misses whose page was not inserted.

    Raises
    ------
    ParameterError
        Where `cache_pages` is no power of two.

    Examples
    --------
    >>> cache = XbzrleCache(4)
    >>> cache.access(np.array([0, 1, 4]), 1).tolist(), cache.refused
    ([False, False, False], 1)
    >>> cache.access(np.array([0, 4]), 2).tolist()
    [True, False]
    """

    def __init__(self, cache_pages: int, *, aged: bool = True) -> None:
        if cache_pages < 1 or cache_pages & (cache_pages - 1):
            raise ParameterError(
                f"The cache has {cache_pages} pages.", "QEMU takes powers of two only.", "Use `cache_pages`."
            )
        self.cache_pages = cache_pages
        self.aged = aged
        self.hits = self.misses = self.refused = 0
        self._page = np.full(cache_pages, _NO_PAGE, np.int64)
        self._used = np.zeros(cache_pages, np.int32)

    @property
    def held(self) -> Ints:
        """Page numbers in the cache, ascending."""
        return np.sort(self._page[self._page != _NO_PAGE])

    def access(self, pages: Ints, generation: int, *, insert: bool = True) -> npt.NDArray[np.bool_]:
        """Look up pages as they are sent, and insert misses; none of the pages is zero.

        Parameters
        ----------
        pages : ndarray of int64
            In the order in which they are sent; ascending numbers are fastest.
        generation : int
            `dirty-sync-count` at that time; it never decreases.
        insert : bool
            False in the last stage, where a miss is not inserted.

        Returns
        -------
        ndarray of bool
            Whether each page was found.
        """
        pages = np.asarray(pages, dtype=np.int64)
        found = np.zeros(len(pages), bool)
        for lap in self._laps(pages):
            found[lap] = self._access(pages[lap], generation, insert)
        return found

    def look(self, pages: Ints, generation: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which pages `access` would find, and which it would refuse; the cache does not change.

        Parameters
        ----------
        pages : ndarray of int64
            No two of them share a slot.
        generation : int
        """
        pages = np.asarray(pages, dtype=np.int64)
        slot = pages & (self.cache_pages - 1)
        held = self._page[slot]
        found = held == pages
        return found, self._refuses(slot, held, generation) & ~found

    def put_zero(self, pages: Ints, generation: int) -> None:
        """Insert zero pages by the same rule as misses; no counter changes."""
        pages = np.asarray(pages, dtype=np.int64)
        for lap in self._laps(pages):
            slot = pages[lap] & (self.cache_pages - 1)
            self._insert(pages[lap], slot, generation)

    def resized(self, cache_pages: int, *, moves: bool = False) -> XbzrleCache:
        """Return the cache after a resize; its counters continue.

        Parameters
        ----------
        cache_pages : int
            The new number of slots.
        moves : bool
            Whether the entries are kept (up to 1.7).
        """
        new = XbzrleCache(cache_pages, aged=self.aged)
        new.hits, new.misses, new.refused = self.hits, self.misses, self.refused
        if moves:
            old = np.flatnonzero(self._page != _NO_PAGE)
            # Later assignments win: the page used last, and in one generation the higher one, as it is sent later.
            old = old[np.lexsort((self._page[old], self._used[old]))]
            slot = self._page[old] & (cache_pages - 1)
            new._page[slot] = self._page[old]
            new._used[slot] = self._used[old]
        return new

    def _laps(self, pages: Ints) -> list[slice]:
        """Cut pages into slices in which no two pages share a slot."""
        lap = pages // self.cache_pages
        cut = np.flatnonzero((lap[1:] != lap[:-1]) | (pages[1:] <= pages[:-1])) + 1
        edges = [0, *cut.tolist(), len(pages)]
        return [slice(low, high) for low, high in pairwise(edges) if high > low]

    def _access(self, pages: Ints, generation: int, insert: bool) -> npt.NDArray[np.bool_]:
        slot = pages & (self.cache_pages - 1)
        found: npt.NDArray[np.bool_] = self._page[slot] == pages
        self._used[slot[found]] = generation
        hits = int(np.count_nonzero(found))
        self.hits += hits
        self.misses += len(pages) - hits
        if insert and hits < len(pages):
            missed = ~found
            self.refused += self._insert(pages[missed], slot[missed], generation)
        return found

    def _insert(self, pages: Ints, slot: Ints, generation: int) -> int:
        """Insert pages of distinct slots; return the number of refused ones."""
        held = self._page[slot]
        refused = self._refuses(slot, held, generation) & (held != pages)
        pages, slot = pages[~refused], slot[~refused]
        self._page[slot] = pages
        self._used[slot] = generation
        return int(np.count_nonzero(refused))

    def _refuses(self, slot: Ints, held: Ints, generation: int) -> npt.NDArray[np.bool_]:
        """Return whether each slot keeps the page that it holds."""
        young = self._used[slot] + PROTECTED_GENERATIONS > generation
        return np.asarray(young & (held != _NO_PAGE) & self.aged)
