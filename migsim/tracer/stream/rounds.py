"""Cuts the arriving sections of a migration stream into rounds, the stretches between two bitmap syncs.

The source syncs only between two sections (iterate calls) and says when (MIGRATION_PASS). Sections that began
to arrive after a sync belong to the round it opened. A page comes once a round at most: where a section that
arrived late would break that, the boundary is moved over it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from migsim.tracer.content import ContentSampler
from migsim.tracer.stream.sink import PageContents, StreamBlock

__all__ = ["Round", "Section", "SectionLog"]

_SPARSE = 64  # pages of span for one that was sent: from here on sorting costs less than marking


@dataclass(slots=True)
class Section:
    """What one iterate call of the source sent, and when it arrived (host clock, seconds since 1970)."""

    begin_s: float
    end_s: float = 0.0
    pages: list[npt.NDArray[np.int64]] = field(default_factory=list)
    normal: int = 0
    zero: int = 0
    encoded: int = 0

    @property
    def sent(self) -> int:
        """Page records."""
        return self.normal + self.zero + self.encoded


@dataclass(frozen=True, slots=True)
class Round:
    """All that was sent between two syncs.

    Attributes
    ----------
    begin_s, end_s : float
        Times of the sync that opened the round and of the next one.
    sent_s : float
        When its last page arrived (`begin_s` where nothing was sent).
    pages : ndarray of int64
        Global page numbers, in the order they came; empty for the first round, which sends every page.
    normal, zero : int
        Pages by kind; encoded pages count as normal.
    repeated : int
        Pages that came twice although sections were moved: 0 unless a boundary is uncertain.
    """

    begin_s: float
    end_s: float
    sent_s: float
    pages: npt.NDArray[np.int64]
    normal: int
    zero: int
    repeated: int = 0


class SectionLog:
    """A `StreamSink` that files sections; the reading thread writes, the controlling thread cuts.

    Attributes
    ----------
    blocks : tuple of StreamBlock
        Empty until the block table has arrived.
    now_s : float
        Arrival time of the bytes being parsed; the reader sets it before each `received`.
    idle_since_s : float
        When the last section, an empty one, began to arrive: the source had nothing left to send; 0 after a
        section with pages.
    pages_received : int
        Page records so far.
    keep_pages : bool
        The first round is over, so page numbers are kept and contents sampled.
    """

    def __init__(self, sampler: ContentSampler | None = None) -> None:
        self.blocks: tuple[StreamBlock, ...] = ()
        self.now_s = 0.0
        self.idle_since_s = 0.0
        self.pages_received = 0
        self.keep_pages = False
        self.sampler = sampler
        self._open: Section | None = None
        self._closed: list[Section] = []
        self._lock = threading.Lock()

    @property
    def total_pages(self) -> int:
        """Pages of all blocks; 0 until the block table has arrived."""
        return self.blocks[-1].first_page + self.blocks[-1].pages if self.blocks else 0

    # ---- StreamSink ----

    def ram_blocks(self, blocks: Sequence[StreamBlock]) -> None:
        """Take the block table."""
        self.blocks = tuple(blocks)

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: PageContents) -> None:
        """Take normal pages."""
        section = self._section()
        section.normal += len(pages)
        if self.keep_pages:
            section.pages.append(pages)
            if self.sampler is not None:
                self.sampler.add_pages(pages, contents, self.now_s)

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Take zero pages."""
        section = self._section()
        section.zero += len(pages)
        if self.keep_pages:
            section.pages.append(pages)
            if self.sampler is not None:
                self.sampler.add_zero_pages(pages, self.now_s)

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Take an encoded page, whose contents are not known."""
        section = self._section()
        section.encoded += 1
        if self.keep_pages:
            section.pages.append(np.array([page], dtype=np.int64))

    def section_end(self, pages: int) -> None:
        """Close the open section."""
        self.idle_since_s = self.now_s if pages == 0 else 0.0
        section, self._open = self._open, None
        if section is not None:
            section.end_s = self.now_s
            self.pages_received += section.sent
            # The first round is all of RAM: nobody needs its page numbers, and a big guest has many.
            self.keep_pages = self.keep_pages or self.pages_received >= self.total_pages
            with self._lock:
                self._closed.append(section)

    def _section(self) -> Section:
        if self._open is None:
            self._open = Section(self.now_s)
        return self._open

    # ---- the controlling thread ----

    def cut_round(
        self, begin_s: float, end_s: float, *, first: bool = False, next_s: float = math.inf
    ) -> Round:
        """Take the round between the syncs at `begin_s` and `end_s` out of the book.

        Call it once `is_complete_until(end_s)`; rounds must be cut in order. The `first` one ends with the last page of
        RAM, whatever its arrival says. `next_s` is the sync after `end_s`, where it is known already.
        """
        with self._lock:
            closed = self._closed
            count = sum(section.begin_s <= end_s for section in closed)
            if first:
                so_far = np.cumsum([section.sent for section in closed])
                count = int((so_far <= self.total_pages).sum())
            while not first and count < len(closed) and self._belongs_before(closed, count, next_s):
                count += 1
            mine, self._closed = closed[:count], closed[count:]
        parts = [part for section in mine for part in section.pages]
        pages = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return Round(
            begin_s=begin_s,
            end_s=end_s,
            sent_s=mine[-1].end_s if mine else begin_s,
            pages=pages,
            normal=sum(section.normal + section.encoded for section in mine),
            zero=sum(section.zero for section in mine),
            repeated=_repeated(pages),
        )

    def is_complete_until(self, end_s: float) -> bool:
        """Whether everything sent before `end_s` has certainly been filed."""
        with self._lock:
            filed = bool(self._closed) and self._closed[-1].begin_s > end_s
        return filed or self.idle_since_s > end_s

    @staticmethod
    def _belongs_before(closed: list[Section], index: int, next_s: float) -> bool:
        """Whether the section repeats in the one right after it, though both arrived after the sync."""
        if index + 1 >= len(closed) or closed[index + 1].begin_s > next_s:
            return False
        here, after = closed[index].pages, closed[index + 1].pages
        if not here or not after:
            return False
        return bool(np.isin(np.concatenate(here), np.concatenate(after)).any())


def _repeated(pages: npt.NDArray[np.int64]) -> int:
    """How many of `pages` are there for a second or later time."""
    if not len(pages):
        return 0
    first = int(pages.min())
    span = int(pages.max()) - first + 1
    if span > _SPARSE * len(pages):
        ordered = np.sort(pages)  # many times faster than np.unique
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))
    seen = np.zeros(span, np.bool_)
    seen[pages - first] = True
    return len(pages) - int(np.count_nonzero(seen))
