"""The writes of a traced guest, page by page, over the time that the guest runs.

An interval of the trace names the pages that were dirty at its end, not when or how often they were written. So a
number of writes is drawn for each of its pages, from how often the page is dirty in the whole trace, and a piece of the
interval takes its share of the writes. Where the trace logs every write with its time (a dirty ring on some hosts),
the writes are split at that time. The trace starts over when it ends. The laws are `migsim.models.dirty.hit_rates`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.errors import TraceError
from migsim.models.dirty.hit_rates import rates_by_hits, writes_of_dirty, writes_within
from migsim.models.dirty.page_writes import guest_seconds

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["TraceWrites", "Written"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Faulting = Callable[[Ints], NDArray[np.bool_]]

_TINY_S = 1e-9
_BISECTIONS = 40
_BLOCK = 1 << 20  # pages counted at a time

EVENTS_PER_DIRTY_PAGE = 1.2
"""With more events than this for each dirty page, the ring has logged every write, not only the first to a page."""


class Written(NamedTuple):
    """Pages written in a stretch of time.

    Attributes
    ----------
    pages : ndarray of int64
        Ascending, each once.
    writes : ndarray of int64
        Number of writes to each page, at unknown times of the stretch.
    begin_s, end_s : float
        The stretch, in seconds since the call of `TraceWrites.advance` began.
    """

    pages: Ints
    writes: Ints
    begin_s: float
    end_s: float


class TraceWrites:
    """A trace as a source of writes.

    Parameters
    ----------
    trace : Trace
        With page numbers.
    rng : numpy.random.Generator
    dirty_fault_s : float
        Guest time lost at a first write to a protected page. It is taken out of the trace's intervals, and added to
        the stretches of a migration whose writes fault.

    Attributes
    ----------
    hits : ndarray of unsigned integers, shape (pages,)
        Number of intervals in which each page was dirty.
    rate_of_hits : ndarray
        Writes a second to a page, by that number.
    guest_s : float
        Guest time that was replayed so far.

    Raises
    ------
    TraceError
        The trace names no pages, or pages outside its RAM.

    Examples
    --------
    >>> writes = TraceWrites(Trace.open("db.trace"), np.random.default_rng(1))        # doctest: +SKIP
    >>> for written in writes.advance(0.5):                                           # doctest: +SKIP
    ...     print(len(written.pages))
    """

    def __init__(self, trace: Trace, rng: np.random.Generator, *, dirty_fault_s: float = 0.0) -> None:
        self.trace = trace
        self.rng = rng
        self.dirty_fault_s = dirty_fault_s
        self.total_pages = trace.meta.total_pages
        self.guest_s = 0.0
        table = trace.intervals
        known = table[(table["dirty_pages"] >= 0) & (table["end_s"] > table["start_s"])]
        self._numbers = [int(i) for i in known["interval"]]
        counts = known["dirty_pages"].to_numpy(float)
        lengths = (known["end_s"] - known["start_s"]).to_numpy(float)
        self._lengths_s = np.array(
            [guest_seconds(t, n, dirty_fault_s) for t, n in zip(lengths, counts, strict=True)]
        )
        if trace.meta.collector == "dirty-rate" or not self._numbers:
            raise TraceError(
                f"{trace.path} names no pages: it has {len(self._numbers)} intervals that do.",
                "A replay needs the numbers of the pages that were dirty in each interval.",
                "Record with --method stream or dirty-ring.",
            )
        self.hits = self._count_hits()
        pages_of_hits = np.zeros(len(self._numbers) + 1, np.int64)
        for low in range(0, self.total_pages, _BLOCK):  # bincount makes eight bytes of each byte
            pages_of_hits += np.bincount(self.hits[low : low + _BLOCK], minlength=len(pages_of_hits))
        self.rate_of_hits = rates_by_hits(pages_of_hits, self._lengths_s, short=self._short_window())
        self.pages_of_hits: Ints = pages_of_hits
        self._events = self._logged_writes(counts.sum())
        self._next = 0
        self._piece: _Drawn | _Logged | None = None

    @property
    def lap_s(self) -> float:
        """Guest time of the whole trace."""
        return float(self._lengths_s.sum())

    def rates(self, pages: Ints) -> Floats:
        """Return the writes to each page in a second of guest time."""
        return np.asarray(self.rate_of_hits[self.hits[pages]])

    def advance(self, seconds: float, faulting: Faulting | None = None) -> Iterator[Written]:
        """Yield the writes of the next seconds, stretch by stretch.

        Parameters
        ----------
        seconds : float
            Run time, including the time lost to faults.
        faulting : callable, optional
            Says which pages' next write faults; it is asked before each stretch.
        """
        at = begun_s = 0.0
        while seconds - at > _TINY_S:
            piece = self._piece
            if piece is None:
                begun_s += (laps := self._whole_laps(seconds - at) if begun_s >= self.lap_s else 0.0)
                at += laps
                piece = self._piece = self._load()
            share, lasts_s = self._cut(piece, seconds - at, faulting)
            taken_s = piece.left_s * share
            pages, writes = piece.take(share)
            if share >= 1:
                self._piece = None
            end = min(at + lasts_s, seconds)
            self.guest_s += taken_s
            begun_s += taken_s
            yield Written(pages, writes, at, end)
            at = end

    def _whole_laps(self, seconds: float) -> float:
        """Skip laps that write no page that a whole lap has not written already, and return their run time."""
        laps = max(int(seconds / self.lap_s) - 1, 0) * self.lap_s
        self.guest_s += laps
        return laps

    def _cut(self, piece: _Drawn | _Logged, seconds: float, faulting: Faulting | None) -> tuple[float, float]:
        """Return the share of a piece that fits into some seconds, and the time that it takes."""
        fault_s = self.dirty_fault_s if faulting is not None else 0.0
        faults = np.zeros(1, np.int64)
        if fault_s and faulting is not None:
            faults = np.bincount(piece.writes[faulting(piece.pages)], minlength=1)
            faults[0] = 0
        amounts = np.arange(len(faults))

        def seconds_of(share: float) -> float:
            return piece.left_s * share + fault_s * float(faults @ (1 - (1 - share) ** amounts))

        if seconds_of(1.0) <= seconds + _TINY_S:
            return 1.0, seconds_of(1.0)
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS if fault_s else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if seconds_of(middle) < seconds else (low, middle)
        return (low if fault_s else seconds / piece.left_s), seconds

    def _load(self) -> _Drawn | _Logged:
        """Load the next interval."""
        index, self._next = self._next, (self._next + 1) % len(self._numbers)
        number, length = self._numbers[index], float(self._lengths_s[index])
        if self._events is not None:
            return _Logged(*self._events[number], length)
        pages = self.trace.pages(number)
        return _Drawn(pages, writes_of_dirty(self.rates(pages) * length, self.rng), length, self.rng)

    def _count_hits(self) -> NDArray[np.unsignedinteger[Any]]:
        hits: Any = np.zeros(self.total_pages, np.min_scalar_type(len(self._numbers)))
        for number in self._numbers:
            pages = self.trace.pages(number)
            if len(pages) and pages[-1] >= self.total_pages:
                raise TraceError(
                    f"{self.trace.path} names page {pages[-1]} in interval {number}.",
                    f"Its RAM blocks have {self.total_pages} pages.",
                    "Record the trace again.",
                )
            hits[pages] += 1
        counted: NDArray[np.unsignedinteger[Any]] = hits
        return counted

    def _short_window(self) -> tuple[float, float] | None:
        """Find the shortest `calc-dirty-rate` window and its dirty pages; None where an interval is as short."""
        curve = self.trace.unique_dirty_curve().only("dirty-bitmap")
        if not len(curve) or curve.window_s[0] >= self._lengths_s.min():
            return None
        alike = curve.window_s < 1.1 * curve.window_s[0]
        window, pages = float(curve.window_s[alike].mean()), float(curve.dirty_pages[alike].mean())
        return guest_seconds(window, pages, self.dirty_fault_s), pages

    def _logged_writes(self, dirty_pages: float) -> dict[int, tuple[Ints, Floats]] | None:
        """Return pages and times (as shares) of each interval's events; None where the events are not all writes."""
        events = self.trace.events()
        if len(events) < EVENTS_PER_DIRTY_PAGE * dirty_pages:
            return None
        table = self.trace.intervals
        numbers, pages = events["interval"].to_numpy(), events["page"].to_numpy(np.int64)
        at = events["time_us"].to_numpy(float) * 1e-6
        spans = zip(table["interval"], table["start_s"], table["end_s"], strict=True)
        found = {}
        for number, start, end in spans:
            if number in self._numbers:
                inside = numbers == number
                found[int(number)] = (pages[inside], np.clip((at[inside] - start) / (end - start), 0.0, 1.0))
        return found


class _Drawn:
    """The rest of an interval that names the dirty pages only; their writes are drawn."""

    def __init__(self, pages: Ints, writes: Ints, length_s: float, rng: np.random.Generator) -> None:
        self.pages, self.writes, self.left_s = pages, writes, length_s
        self._rng = rng

    def take(self, share: float) -> tuple[Ints, Ints]:
        """Take a share of the rest, from its beginning: pages and their writes."""
        taken = writes_within(self.writes, share, self._rng)
        pages, some = self.pages, taken > 0
        left = self.writes - taken
        self.pages, self.writes = self.pages[left > 0], left[left > 0]
        self.left_s *= 1 - share
        return pages[some], taken[some]


class _Logged:
    """The rest of an interval whose writes have times."""

    def __init__(self, pages: Ints, at: Floats, length_s: float) -> None:
        order = np.argsort(at, kind="stable")
        self._pages, self._at, self._begin = pages[order], at[order], 0.0
        self.left_s = length_s

    @property
    def pages(self) -> Ints:
        """Pages with writes in the rest."""
        return np.unique(self._pages)

    @property
    def writes(self) -> Ints:
        """Number of writes in the rest to each of `pages`."""
        return np.unique_counts(self._pages).counts

    def take(self, share: float) -> tuple[Ints, Ints]:
        """Take a share of the rest, from its beginning: pages and their writes."""
        until = self._begin + share * (1 - self._begin)
        cut = len(self._at) if share >= 1 else int(np.searchsorted(self._at, until, side="right"))
        pages, counts = np.unique(self._pages[:cut], return_counts=True)
        self._pages, self._at, self._begin = self._pages[cut:], self._at[cut:], until
        self.left_s *= 1 - share
        return pages, counts
