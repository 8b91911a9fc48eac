"""Statistics of how pages change between two sendings, from a bounded sample of pages."""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from migsim.models.xbzrle.encoding import page_change
from migsim.units import PAGE_BYTES

__all__ = ["ContentSampler", "ContentStatistics", "IndexablePages"]

_FIBONACCI = np.uint64(
    0x9E3779B97F4A7C15
)  # Fibonacci hashing spreads neighbouring pages over all hash values
_HIGH_BITS = np.uint64(32)
_PAGES_PER_COMPARISON = 512  # one comparison is allowed for each 512 pages that arrive,
_COMPARISONS_PER_TAKE = 256  # and 256 for each `take_statistics`, so that small working sets are sampled too
_BATCH = 32  # comparisons that are made at once


class IndexablePages(Protocol):
    """Page contents that can be indexed, for example an array of shape (n, 4096)."""

    def __getitem__(self, index: npt.NDArray[np.intp], /) -> npt.NDArray[np.uint8]:
        """Return the contents of the pages at `index`."""
        ...


class ContentStatistics(NamedTuple):
    """Columns of the trace's content member, one row for each comparison."""

    page: npt.NDArray[np.int64]
    changed_bytes: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int64]
    xbzrle_bytes: npt.NDArray[np.int64]
    between_s: npt.NDArray[np.float64]
    """Time between the two sendings."""
    sent_s: npt.NDArray[np.float64]
    """Time of the later sending, as given to `ContentSampler.add_pages`."""


class ContentSampler:
    """Keeps the last contents of a sample of pages, and compares them when such a page is sent again.

    A page is in the sample while the hash of its number is below a threshold. At first all pages are. When the
    store is full, the threshold is halved, and the pages above it are dropped from the store and from the
    comparisons not yet returned. `take_statistics` halves the threshold too, until the comparisons stay within
    their budget: 256 a round, and one for each 512 pages that arrive. So all statistics that are returned together
    were chosen by one threshold, whatever the order of the pages: they are a fair sample. Comparing a page takes 2
    to 10 us, so the sample costs about 2 ms a round and 5 ms for each GB.

    One thread may add pages while another takes the statistics.

    Parameters
    ----------
    capacity : int
        Pages kept in memory, 4 KiB each; with 0 no page is sampled.

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
        # The store: contents and sending time of each slot, the slot of each page, and the unused slots.
        self._store = np.zeros((max(capacity, 1), PAGE_BYTES), np.uint8)
        self._sent_s = np.zeros(max(capacity, 1))
        self._slot: dict[int, int] = {}
        self._free = list(range(capacity))
        self._threshold = 1 << 32  # a page is in the sample while its 32-bit hash is below
        self._statistics: list[ContentStatistics] = []
        self._budget = float(capacity)  # comparisons that may be made
        self._compared = 0.0  # comparisons since the last `take_statistics`
        self._lock = threading.Lock()
        # The batch of pages to compare next, contents before and after: comparing many at once costs less.
        self._batch: list[
            tuple[int, float, float]
        ] = []  # page, seconds between the sendings, time of the later
        self._before = np.zeros((_BATCH, PAGE_BYTES), np.uint8)
        self._after = np.zeros((_BATCH, PAGE_BYTES), np.uint8)

    def add_pages(self, pages: npt.NDArray[np.int64], contents: IndexablePages, now_s: float = 0.0) -> None:
        """Add distinct pages that arrived at `now_s`; of `contents` only the sampled pages are read, and copied."""
        if self.capacity:
            with self._lock:
                self._add_pages(pages, contents, now_s)

    def add_zero_pages(self, pages: npt.NDArray[np.int64], now_s: float = 0.0) -> None:
        """Add pages that arrived as zero pages at `now_s`: their stored contents become zero."""
        with self._lock:
            if self._slot:
                sampled = pages[self._sampled(pages)].tolist()
                slots = [self._slot[page] for page in sampled if page in self._slot]
                self._store[slots] = 0
                self._sent_s[slots] = now_s

    def take_statistics(self) -> ContentStatistics:
        """Return the statistics of the comparisons since the last call."""
        with self._lock:
            self._compare_batch()
            statistics, self._statistics = self._statistics, []
            threshold = self._threshold
            self._settle_budget()
        if not statistics:
            no_pages, no_times = np.zeros(0, np.int64), np.zeros(0)
            return ContentStatistics(no_pages, no_pages, no_pages, no_pages, no_times, no_times)
        columns = ContentStatistics._make(np.concatenate(column) for column in zip(*statistics, strict=True))
        in_sample = _hash(columns.page) < threshold  # drops those made before the threshold was halved
        return ContentStatistics._make(column[in_sample] for column in columns)

    def _add_pages(self, pages: npt.NDArray[np.int64], contents: IndexablePages, now_s: float) -> None:
        self._budget += len(pages) / _PAGES_PER_COMPARISON
        sampled = self._sampled(pages)
        if not len(sampled):
            return
        sampled = self._make_room(pages, sampled)
        for page, new in zip(pages[sampled].tolist(), contents[sampled], strict=True):
            slot = self._slot.get(page)
            if slot is not None:
                self._compare(page, self._store[slot], new, now_s - float(self._sent_s[slot]), now_s)
            elif self._free:
                slot = self._slot[page] = self._free.pop()
            else:
                continue
            self._store[slot] = new
            self._sent_s[slot] = now_s

    def _sampled(self, pages: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """Return the indices of the pages that are in the sample."""
        return (_hash(pages) < self._threshold).nonzero()[0]

    def _compare(
        self,
        page: int,
        before: npt.NDArray[np.uint8],
        after: npt.NDArray[np.uint8],
        between_s: float,
        now_s: float,
    ) -> None:
        at = len(self._batch)
        self._before[at], self._after[at] = before, after
        self._batch.append((page, between_s, now_s))
        self._compared += 1
        if at + 1 == _BATCH:
            self._compare_batch()

    def _compare_batch(self) -> None:
        count = len(self._batch)
        if count:
            change = page_change(self._before[:count], self._after[:count])
            page, between_s, sent_s = zip(*self._batch, strict=True)
            times = np.array(between_s), np.array(sent_s)
            self._statistics.append(ContentStatistics(np.array(page, dtype=np.int64), *change, *times))
            self._batch.clear()

    def _make_room(self, pages: npt.NDArray[np.int64], sampled: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Halve the threshold until the store has room for the new pages; return those still in the sample."""
        while self._threshold > 1:
            new = sum(page not in self._slot for page in pages[sampled].tolist())
            if new <= len(self._free):
                break
            self._halve_threshold()
            sampled = sampled[_hash(pages[sampled]) < self._threshold]
        return sampled

    def _settle_budget(self) -> None:
        """Halve the threshold until the comparisons since the last call would have stayed within the budget."""
        self._budget += _COMPARISONS_PER_TAKE
        while self._compared > self._budget:
            self._halve_threshold()
            self._compared /= 2
        self._budget = min(self._budget - self._compared, self.capacity)
        self._compared = 0.0

    def _halve_threshold(self) -> None:
        self._threshold = max(self._threshold // 2, 1)
        stored = np.array(list(self._slot), dtype=np.int64)
        for dropped in stored[_hash(stored) >= self._threshold].tolist():
            self._free.append(self._slot.pop(dropped))


def _hash(pages: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return 32-bit hashes of page numbers."""
    return (pages.view(np.uint64) * _FIBONACCI) >> _HIGH_BITS
