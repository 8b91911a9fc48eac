"""How pages change between two sendings: statistics of a bounded sample, never the contents themselves."""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from migsim.models.xbzrle.encoding import page_change
from migsim.units import PAGE_BYTES

__all__ = ["ContentSampler", "ContentStatistics", "IndexablePages"]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: spreads neighbouring pages over all hash values
_HIGH = np.uint64(32)
_PAGES_A_COMPARISON = 512
_COMPARED_TOGETHER = 32
_COMPARISONS_A_TAKE = 256  # granted besides, so that small working sets stay sampled


class IndexablePages(Protocol):
    """Pages that can be picked: an array of shape (n, 4096) will do."""

    def __getitem__(self, index: npt.NDArray[np.intp], /) -> npt.NDArray[np.uint8]:
        """Pick the pages at `index`."""
        ...


class ContentStatistics(NamedTuple):
    """Columns of the trace's content member for the pages sampled since the last call."""

    page: npt.NDArray[np.int64]
    changed_bytes: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int64]
    xbzrle_bytes: npt.NDArray[np.int64]
    between_s: npt.NDArray[np.float64]
    """From one sending to the other."""
    sent_s: npt.NDArray[np.float64]
    """When the later one was, by the clock of `look`."""


class ContentSampler:
    """Keeps the last contents of at most `capacity` re-sent pages and compares when they come again.

    Pages are chosen by the hash of their number. All are taken at first; when the store is full, the bar
    is lowered by half and what lies above it is forgotten, comparisons not yet handed out included. So is it
    with each `take`, until no more would have been compared than 256 pages a round and one in 512 besides.
    All that is handed out at one time was thus chosen by one bar, whatever the order in which pages came: a
    fair sample of them. As comparing a page takes 2 to 10 us, the sample costs some 2 ms a round and
    5 ms a GB.

    Parameters
    ----------
    capacity : int
        Pages kept in memory, 4 KiB each; 0 samples nothing.

    Examples
    --------
    >>> sampler = ContentSampler(16)
    >>> sampler.add_pages(np.array([7]), np.zeros((1, 4096), np.uint8))
    >>> sampler.add_pages(np.array([7]), np.ones((1, 4096), np.uint8))
    >>> sampler.take_statistics().changed_bytes
    array([4096])
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.capacity = capacity
        self._sent_s = np.zeros(max(capacity, 1))  # of what is in the store
        self._store = np.zeros((max(capacity, 1), PAGE_BYTES), np.uint8)
        self._slot: dict[int, int] = {}
        self._free = list(range(capacity))
        self._bar = 1 << 32  # a page is sampled while its 32-bit hash is below
        self._found: list[ContentStatistics] = []
        self._budget = float(capacity)  # comparisons
        self._compared = 0.0  # since the last `take`
        self._lock = threading.Lock()  # one thread looks, another takes
        # Pages to be compared, before and after: comparing many at once costs less.
        self._waiting: list[tuple[int, float, float]] = []  # page, seconds between, sent at
        self._before = np.zeros((_COMPARED_TOGETHER, PAGE_BYTES), np.uint8)
        self._after = np.zeros((_COMPARED_TOGETHER, PAGE_BYTES), np.uint8)

    def add_pages(self, pages: npt.NDArray[np.int64], contents: IndexablePages, now_s: float = 0.0) -> None:
        """Take pages, each once, as they arrive at `now_s`; of `contents` only what is kept is read, and copied."""
        if self.capacity:
            with self._lock:
                self._look(pages, contents, now_s)

    def add_zero_pages(self, pages: npt.NDArray[np.int64], now_s: float = 0.0) -> None:
        """Note that `pages` came as zero pages: their kept contents are zero from now on."""
        with self._lock:
            if self._slot:
                chosen = pages[self._chosen(pages)].tolist()
                slots = [self._slot[page] for page in chosen if page in self._slot]
                self._store[slots] = 0
                self._sent_s[slots] = now_s

    def take_statistics(self) -> ContentStatistics:
        """Hand out what was found since the last call; another thread may be looking meanwhile."""
        with self._lock:
            self._compare_waiting()
            found, self._found = self._found, []
            bar = self._bar
            self._settle_budget()
        if not found:
            nothing, never = np.zeros(0, np.int64), np.zeros(0)
            return ContentStatistics(nothing, nothing, nothing, nothing, never, never)
        columns = ContentStatistics._make(np.concatenate(column) for column in zip(*found, strict=True))
        fair = _hash(columns.page) < bar
        return ContentStatistics._make(column[fair] for column in columns)

    def _look(self, pages: npt.NDArray[np.int64], contents: IndexablePages, now_s: float) -> None:
        self._budget += len(pages) / _PAGES_A_COMPARISON
        chosen = self._chosen(pages)
        if not len(chosen):
            return
        chosen = self._make_room(pages, chosen)
        for page, new in zip(pages[chosen].tolist(), contents[chosen], strict=True):
            slot = self._slot.get(page)
            if slot is not None:
                self._compare(page, self._store[slot], new, now_s - float(self._sent_s[slot]), now_s)
            elif self._free:
                slot = self._slot[page] = self._free.pop()
            else:
                continue
            self._store[slot] = new
            self._sent_s[slot] = now_s

    def _chosen(self, pages: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Indices of the pages below the bar."""
        return (_hash(pages) < self._bar).nonzero()[0]

    def _compare(
        self,
        page: int,
        before: npt.NDArray[np.uint8],
        after: npt.NDArray[np.uint8],
        between_s: float,
        now_s: float,
    ) -> None:
        at = len(self._waiting)
        self._before[at], self._after[at] = before, after
        self._waiting.append((page, between_s, now_s))
        self._compared += 1
        if at + 1 == _COMPARED_TOGETHER:
            self._compare_waiting()

    def _compare_waiting(self) -> None:
        count = len(self._waiting)
        if count:
            change = page_change(self._before[:count], self._after[:count])
            page, between_s, sent_s = zip(*self._waiting, strict=True)
            times = np.array(between_s), np.array(sent_s)
            self._found.append(ContentStatistics(np.array(page, dtype=np.int64), *change, *times))
            self._waiting.clear()

    def _make_room(self, pages: npt.NDArray[np.int64], chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Lower the bar until the store holds all chosen pages that are new, and return which are still chosen."""
        while self._bar > 1:
            new = sum(page not in self._slot for page in pages[chosen].tolist())
            if new <= len(self._free):
                break
            self._lower_bar()
            chosen = chosen[_hash(pages[chosen]) < self._bar]
        return chosen

    def _settle_budget(self) -> None:
        """Lower the bar to where it should have been since the last time for the budget to last."""
        self._budget += _COMPARISONS_A_TAKE
        while self._compared > self._budget:
            self._lower_bar()
            self._compared /= 2
        self._budget = min(self._budget - self._compared, self.capacity)
        self._compared = 0.0

    def _lower_bar(self) -> None:
        self._bar = max(self._bar // 2, 1)
        kept = np.array(list(self._slot), dtype=np.int64)
        for gone in kept[_hash(kept) >= self._bar].tolist():
            self._free.append(self._slot.pop(gone))


def _hash(pages: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """32-bit hashes of page numbers."""
    return (pages.view(np.uint64) * _ODD) >> _HIGH
