"""Cutting the sections of a migration stream into rounds: all that is sent between two bitmap syncs.

The source syncs only between two sections (iterate calls), and announces each sync (MIGRATION_PASS). A section that
began to arrive after a sync belongs to the round that the sync opened. A round sends each page at most once. If a
section that arrived late would break this rule, it is put into the previous round.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from migsim.trace.data_map import DataMapCounter
from migsim.tracer.content import ContentSampler
from migsim.tracer.stream.sink import PageContents, StreamBlock

__all__ = ["Round", "Section", "SectionLog"]

_SPARSE = (
    64  # where the page numbers span more than 64 times their count, sorting them costs less than marking
)


@dataclass(slots=True)
class Section:
    """The pages that one iterate call of the source sent, and when they arrived (host clock, seconds since 1970)."""

    begin_s: float
    end_s: float = 0.0
    pages: list[npt.NDArray[np.int64]] = field(default_factory=list)
    normal: int = 0
    zero: int = 0
    encoded: int = 0

    @property
    def sent(self) -> int:
        """Number of page records."""
        return self.normal + self.zero + self.encoded


@dataclass(frozen=True, slots=True)
class Round:
    """The pages that were sent between two syncs.

    Attributes
    ----------
    begin_s, end_s : float
        Times of the sync that opened the round and of the next sync.
    sent_s : float
        When the last page arrived; `begin_s` if none was sent.
    pages : ndarray of int64
        Global page numbers in the order of their arrival; empty for the first round, which sends every page.
    normal, zero : int
        Number of pages by kind; encoded pages count as normal.
    repeated : int
        Number of pages that arrived twice although late sections were moved; above 0 if the ends are uncertain.
    """

    begin_s: float
    end_s: float
    sent_s: float
    pages: npt.NDArray[np.int64]
    normal: int
    zero: int
    repeated: int = 0


class SectionLog:
    """A `StreamSink` that keeps the sections which have arrived, and from which rounds are cut.

    The reading thread calls the methods of `StreamSink`, the controlling thread cuts the rounds.

    Attributes
    ----------
    blocks : tuple of StreamBlock
        Empty until the block table has arrived.
    now_s : float
        Arrival time of the bytes that are parsed; the reader sets it before each `StreamParser.received`.
    idle_since_s : float
        Arrival time of the last section if it was empty, which shows that the source had nothing left to send; 0 if
        it held pages.
    pages_received : int
        Number of page records so far.
    ends : dict of int to int
        By a round's number, the number of page records since the beginning once it is sent, where that is known.
    keep_pages : bool
        Whether page numbers are kept and contents sampled, as is done after the first round.
    data_map : DataMapCounter or None
        Where the first round found data; None until the block table has arrived.
    """

    def __init__(self, sampler: ContentSampler | None = None) -> None:
        self.blocks: tuple[StreamBlock, ...] = ()
        self.now_s = 0.0
        self.idle_since_s = 0.0
        self.pages_received = 0
        self.ends: dict[int, int] = {}
        self.keep_pages = False
        self.sampler = sampler
        self.data_map: DataMapCounter | None = None
        self._open: Section | None = None
        self._closed: list[Section] = []
        self._cut_pages = 0
        self._lock = threading.Lock()

    @property
    def total_pages(self) -> int:
        """Number of pages of all blocks; 0 until the block table has arrived."""
        return self.blocks[-1].first_page + self.blocks[-1].pages if self.blocks else 0

    @property
    def pages_so_far(self) -> int:
        """Number of page records, those of the open section among them; for the reading thread."""
        return self.pages_received + (self._open.sent if self._open is not None else 0)

    # ---- StreamSink ----

    def ram_blocks(self, blocks: Sequence[StreamBlock]) -> None:
        """Receive the block table."""
        self.blocks = tuple(blocks)
        self.data_map = DataMapCounter(self.total_pages)

    def normal_pages(self, pages: npt.NDArray[np.int64], contents: PageContents) -> None:
        """Receive normal pages."""
        section = self._section()
        section.normal += len(pages)
        if self.keep_pages:
            section.pages.append(pages)
            if self.sampler is not None:
                self.sampler.add_pages(pages, contents, self.now_s)
        elif self.data_map is not None:
            self.data_map.add(pages)

    def zero_pages(self, pages: npt.NDArray[np.int64]) -> None:
        """Receive zero pages."""
        section = self._section()
        section.zero += len(pages)
        if self.keep_pages:
            section.pages.append(pages)
            if self.sampler is not None:
                self.sampler.add_zero_pages(pages, self.now_s)

    def encoded_page(self, page: int, encoded_bytes: int) -> None:
        """Receive an encoded page; its contents are unknown."""
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
            # The first round sends all of RAM: its page numbers only say where data lies, and a big guest has many.
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
        """Remove the round between the syncs at `begin_s` and `end_s` from the log, and return it.

        `is_complete_until(end_s)` must be true, and rounds must be cut in order. The `first` round ends with the last
        page of RAM, whenever that page arrived. `next_s` is the time of the sync after `end_s`, where it is known.
        """
        with self._lock:
            closed = self._closed
            count = sum(section.begin_s <= end_s for section in closed)
            if first:
                total_sent = np.cumsum([section.sent for section in closed])
                count = int((total_sent <= self.total_pages).sum())
            while not first and count < len(closed) and self._arrived_late(closed, count, next_s):
                count += 1
        return self._cut(count, begin_s, end_s)

    def cut_at(self, pages: int, begin_s: float, end_s: float) -> Round:
        """Remove the sections up to that number of page records since the beginning; return them as one round.

        Parameters
        ----------
        pages : int
            Of `ends`; QEMU may count one page fewer while it sends it.
        begin_s, end_s : float
            Times of the first round's begin and of the last one's end.
        """
        with self._lock:
            sent = self._cut_pages + np.cumsum([section.sent for section in self._closed])
        until = pages if pages in sent else pages + 1
        return replace(self._cut(int((sent <= until).sum()), begin_s, end_s), repeated=0)

    def _cut(self, count: int, begin_s: float, end_s: float) -> Round:
        """Remove the first `count` sections, and make a round of them."""
        with self._lock:
            sections, self._closed = self._closed[:count], self._closed[count:]
        self._cut_pages += sum(section.sent for section in sections)
        parts = [part for section in sections for part in section.pages]
        pages = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return Round(
            begin_s=begin_s,
            end_s=end_s,
            sent_s=sections[-1].end_s if sections else begin_s,
            pages=pages,
            normal=sum(section.normal + section.encoded for section in sections),
            zero=sum(section.zero for section in sections),
            repeated=_count_repeated(pages),
        )

    def is_complete_until(self, end_s: float) -> bool:
        """Say whether all sections that were sent before `end_s` have certainly arrived."""
        with self._lock:
            later_section_arrived = bool(self._closed) and self._closed[-1].begin_s > end_s
        return later_section_arrived or self.idle_since_s > end_s

    @staticmethod
    def _arrived_late(closed: list[Section], index: int, next_s: float) -> bool:
        """Say whether a section, though it arrived after the sync, was sent before it.

        It was if the next section, which arrived before the next sync, repeats a page: a round sends no page twice.
        """
        if index + 1 >= len(closed) or closed[index + 1].begin_s > next_s:
            return False
        here, after = closed[index].pages, closed[index + 1].pages
        if not here or not after:
            return False
        return bool(np.isin(np.concatenate(here), np.concatenate(after)).any())


def _count_repeated(pages: npt.NDArray[np.int64]) -> int:
    """Return how many of `pages` are repetitions of an earlier one."""
    if not len(pages):
        return 0
    first = int(pages.min())
    span = int(pages.max()) - first + 1
    if span > _SPARSE * len(pages):
        ordered = np.sort(pages)  # many times faster than np.unique
        return int(np.count_nonzero(ordered[1:] == ordered[:-1]))
    marked = np.zeros(span, np.bool_)
    marked[pages - first] = True
    return len(pages) - int(np.count_nonzero(marked))
