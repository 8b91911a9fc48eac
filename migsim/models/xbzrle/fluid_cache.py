r"""Which pages XBZRLE's cache holds, as expected fractions of segments of RAM.

Law
---
RAM is segments of equally busy pages. A slot is the page number mod C, so a segment lies on an arc of the circle of
slots, and the ends of all arcs cut the circle into bins. All slots of a bin have the same candidates: at most one page
of each run of C pages. For each bin and run the state is the fraction of slots that the run's page holds, by the sync
generations since its last use: a = 0, 1 or 2 and more.

Sending a fraction q of a segment's pages not yet sent in this generation, at random, moves expected fractions. A
page last used in this generation was sent in it, so of the fractions :math:`p_a` that the run holds

.. math:: \text{hits} = q\,(p_1 + p_2)

become young, :math:`p_0`. The other pages sent miss and take over

- with ageing (2.3 on) the fraction q of what is free or held by others with a = 2 and more: had the page been sent
  in this generation it would hold such a slot already, so all its pages there are unsent;
- without ageing the fraction q of what is free or held by others with a > 0, for the same reason, and of the slots
  that others took in this generation as much as there are unsent pages of the run.

A run may stand for k runs of C pages: then one of k pages finds a free slot with :math:`1-(1-q)^k`, and a page held
is the first of the k with 1/k.

In expectation this is the exact cache (`migsim.models.xbzrle.cache`) for pages dirtied independently of each other.

Leaves out: the spread of the hits. Pages that are sent again and again together (one page of a slot written only when
another is not) are no independent pages. A segment of more than C pages is sent in address order within one call; over
several calls its runs take turns, which with ageing changes little, without it a segment should have at most C pages.
A segment of more than 4 C pages is taken as 4 runs of several pages a slot. Where bins and runs would come to more
than a million fractions, equal bins take the place of the arcs, and a segment that ends inside a bin counts as
spread over it.

Mirrors: `migration/page_cache.c`. Source: the mechanics reference, sections 4.2, 4.3 and 4.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError

__all__ = ["AgedStep", "CacheLayout", "FluidXbzrleCache", "aged_step", "hazard_of", "hits_without_insertion"]

Floats = NDArray[np.float64]

MOST_RUNS = 4
MOST_TRACKS = 1_000_000
LEAST = exp(-40.0)  # a smaller remaining share counts as none


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of a segment, with at most one page (or `k` pages) a slot: its place in the state, and its bins."""

    place: slice
    bins: NDArray[np.int64]
    k: Floats | float
    covered: Floats | float  # share of each bin's slots that has such a page
    width: Floats


class CacheLayout(NamedTuple):
    """Tracks of a fluid cache: one for each bin that a run of a segment lies in.

    A segment has the tracks from `begin` to `end`. Each track has its `bin`, its `k` pages a slot, the share `covered`
    of the bin's slots that have such pages, and the bin's `width` in slots. `bins` is the number of bins.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    bin: NDArray[np.int64]
    k: Floats
    covered: Floats
    width: Floats
    bins: int


class FluidXbzrleCache:
    """Expected contents of the cache, for segments of RAM.

    Parameters
    ----------
    first_page, pages : ndarray of float, shape (segments,)
        Segment i has ``pages[i]`` pages, from ``first_page[i]`` on.
    cache_pages : int
        Number of slots.
    aged : bool
        Whether recently used entries are protected (QEMU 2.3 on).

    Attributes
    ----------
    hits, misses, refused : float
        Expected accesses so far; `refused` are the misses whose page was not inserted.

    Raises
    ------
    ParameterError
        For no slots, or arrays of different lengths.

    Examples
    --------
    There are twice as many pages as slots, and all are sent in every generation: half of them stay in the cache.

    >>> cache = FluidXbzrleCache(np.array([0.0]), np.array([2048.0]), 1024, aged=True)
    >>> cache.send(0, 2048)
    0.0
    >>> cache.new_generation()
    >>> cache.send(0, 2048)
    1024.0
    """

    def __init__(self, first_page: Floats, pages: Floats, cache_pages: int, *, aged: bool) -> None:
        if cache_pages < 1 or np.shape(first_page) != np.shape(pages):
            raise ParameterError(
                f"The cache has {cache_pages} pages, for {np.size(first_page)} segments of {np.size(pages)}.",
                "A cache has a slot or more, and each segment a first page and a length.",
                "Give arrays of the same length.",
            )
        self.aged = aged
        self.hits = self.misses = self.refused = 0.0
        self._pages = np.asarray(pages, dtype=float)
        self._sent = np.zeros_like(self._pages)  # in this generation
        spans = [_spans(f, n, cache_pages) for f, n in zip(first_page, self._pages, strict=True)]
        edges = _edges([span for segment in spans for span in segment], cache_pages)
        self._width = np.diff(edges)
        self._runs: list[list[_Run]] = []
        tracks = 0
        for segment in spans:
            runs = []
            for begin, end in segment:
                runs.append(_run(begin, end, edges, tracks))
                tracks = runs[-1].place.stop
            self._runs.append(runs)
        self._bin = np.concatenate([np.zeros(0, np.int64), *(r.bins for runs in self._runs for r in runs)])
        # Fractions of the bin's slots that are held, by age. Losses to other runs fall evenly on a bin's fractions, so
        # each bin keeps one hazard, and a fraction's present value is mass * exp(mark - hazard).
        self._young, self._middle, self._old = (np.zeros(tracks) for _ in range(3))
        self._young_mark, self._old_mark = np.zeros(tracks), np.zeros(tracks)
        bins = len(self._width)
        self._young_hazard, self._old_hazard = np.zeros(bins), np.zeros(bins)
        self._all_young, self._all_old, self._free = np.zeros(bins), np.zeros(bins), np.ones(bins)

    def layout(self) -> CacheLayout:
        """Return where each segment's tracks lie, and in which bins."""
        runs = [run for segment in self._runs for run in segment]
        ends = [segment[-1].place.stop if segment else 0 for segment in self._runs]
        begins = [segment[0].place.start if segment else 0 for segment in self._runs]
        return CacheLayout(
            begin=np.array(begins, np.int64),
            end=np.array(ends, np.int64),
            bin=self._bin.astype(np.int64),
            k=np.concatenate([np.zeros(0), *(np.broadcast_to(r.k, r.bins.shape) for r in runs)]),
            covered=np.concatenate([np.zeros(0), *(np.broadcast_to(r.covered, r.bins.shape) for r in runs)]),
            width=np.concatenate([np.zeros(0), *(r.width for r in runs)]),
            bins=len(self._width),
        )

    def send(self, segment: int, sent_pages: float, *, insert: bool = True) -> float:
        """Send pages of a segment that were not yet sent in this generation; none of them is zero.

        Parameters
        ----------
        segment : int
        sent_pages : float
            Number of pages; pages beyond the segment's unsent ones count as misses.
        insert : bool
            False in the last stage, where a miss is not inserted.

        Returns
        -------
        float
            Expected hits among them.
        """
        hits, inserted = self._send(segment, sent_pages, insert)
        self.hits += hits
        self.misses += sent_pages - hits
        self.refused += sent_pages - hits - inserted if insert else 0.0
        return hits

    def put_zero(self, segment: int, pages: float) -> None:
        """Send pages of a segment as zero pages: they are inserted by the same rule, and no counter changes."""
        self._send(segment, pages, True)

    def new_generation(self) -> None:
        """Begin a generation at a bitmap sync: every page may be sent again, and all entries grow older."""
        old = self._old * np.exp(self._old_mark - self._old_hazard[self._bin])
        if self.aged:
            self._old, self._middle = old + self._middle, self._young
        else:
            self._old = old + self._young * np.exp(self._young_mark - self._young_hazard[self._bin])
        self._young = np.zeros_like(self._old)
        for array in (
            self._young_mark, self._old_mark, self._young_hazard, self._old_hazard, self._all_young, self._sent,
        ):  # fmt: skip
            array[:] = 0.0
        self._all_old = np.bincount(self._bin, self._old, minlength=len(self._width)).astype(float)

    def _send(self, segment: int, sent_pages: float, insert: bool) -> tuple[float, float]:
        """Return the expected (hits, pages inserted)."""
        left = float(self._pages[segment] - self._sent[segment])
        if sent_pages <= 0 or left <= 0:
            return 0.0, 0.0
        q = min(sent_pages / left, 1.0)
        hits = inserted = 0.0
        for run in self._runs[segment]:
            if not insert:
                run_hits, run_inserted = self._look(run, q), 0.0
            elif self.aged:
                run_hits, run_inserted = self._step_aged(run, q)
            else:
                run_hits, run_inserted = self._step_always(run, q, left / float(self._pages[segment]))
            hits += run_hits
            inserted += run_inserted
        self._sent[segment] += q * left
        return min(hits, sent_pages), min(inserted, max(sent_pages - hits, 0.0))

    def _look(self, run: _Run, q: float) -> float:
        """Return the expected hits of pages that are looked up and not inserted."""
        at, b = run.place, run.bins
        hazard = self._old_hazard[b]
        old = self._old[at] * np.exp(self._old_mark[at] - hazard)
        middle = self._middle[at]
        found = hits_without_insertion(q, middle, old)
        # Pages found become young at the present hazard; entries that are young already keep their value.
        young = self._young_hazard[b]
        self._young[at] = self._young[at] * np.exp(self._young_mark[at] - young) + found
        self._young_mark[at] = young
        self._all_young[b] += found
        self._middle[at] = (1 - q) * middle
        self._old[at] = (1 - q) * old
        self._old_mark[at] = hazard
        self._all_old[b] -= q * old
        return float(found @ run.width)

    def _step_aged(self, run: _Run, q: float) -> tuple[float, float]:
        """Return the expected (hits, pages inserted) where only old or free slots are taken over."""
        at, b, k = run.place, run.bins, run.k
        first = q if isinstance(k, float) else 1 - (1 - q) ** k
        hazard = self._old_hazard[b]
        old = self._old[at] * np.exp(self._old_mark[at] - hazard)
        young, middle = self._young[at], self._middle[at]
        s = aged_step(q, first, k, run.covered, young, middle, old, self._all_old[b], self._free[b])
        self._young[at], self._middle[at], self._old[at] = s.young, s.middle, s.old
        self._all_old[b], self._free[b] = s.all_old, s.free
        hazard += hazard_of(s.taken)
        self._old_mark[at] = self._old_hazard[b] = hazard
        return float(s.found @ run.width), float(s.inserted @ run.width)

    def _step_always(self, run: _Run, q: float, unsent: float) -> tuple[float, float]:
        """Return the expected (hits, pages inserted) where every miss takes its slot; `unsent`: share of the run."""
        at, b, k, covered = run.place, run.bins, run.k, run.covered
        first = q if isinstance(k, float) else 1 - (1 - q) ** k
        old_hazard, young_hazard = self._old_hazard[b], self._young_hazard[b]
        old = self._old[at] * np.exp(self._old_mark[at] - old_hazard)
        young = self._young[at] * np.exp(self._young_mark[at] - young_hazard)
        free, all_old, all_young = self._free[b], self._all_old[b], self._all_young[b]
        old_others = np.maximum(all_old - old, 0.0)
        young_others = np.maximum(all_young - young, 0.0)
        # Slots that no page took in this generation have all k pages unsent; other unsent pages are in taken slots.
        hidden = np.maximum(k * (covered * unsent - old - covered * (old_others + free)), 0.0)
        room = (k - 1) * young + k * covered * young_others
        a_slot = np.minimum(np.divide(hidden * k, room, out=np.zeros_like(room), where=room > 1e-12), k)
        later = q * a_slot if isinstance(k, float) else 1 - (1 - q * a_slot / k) ** k
        renewed = first * old
        taken_old, taken_young = covered * first, covered * later
        grabbed_old = taken_old * (old_others + free)
        grabbed_young = taken_young * young_others
        self._old[at] = old - renewed
        self._young[at] = young + renewed + grabbed_old + grabbed_young
        old_hazard += hazard_of(taken_old)
        young_hazard += hazard_of(taken_young)
        self._old_mark[at] = self._old_hazard[b] = old_hazard
        self._young_mark[at] = self._young_hazard[b] = young_hazard
        self._all_old[b] = all_old - renewed - taken_old * old_others
        self._all_young[b] = all_young + renewed + grabbed_old
        self._free[b] = free * (1 - taken_old)
        found = float((renewed / k) @ run.width)
        return found, np.inf


class AgedStep(NamedTuple):
    """Fractions of a bin's slots after a step: held by the run by age; old of all runs; free; hits; inserted; taken."""

    young: Floats
    middle: Floats
    old: Floats
    all_old: Floats
    free: Floats
    found: Floats
    inserted: Floats
    taken: Floats | float


def aged_step(
    q: float,
    first: Floats | float,
    k: Floats | float,
    covered: Floats | float,
    young: Floats,
    middle: Floats,
    old: Floats,
    all_old: Floats,
    free: Floats,
) -> AgedStep:
    """Send the fraction `q` of a run's pages that are unsent, with ageing: numbers or arrays over bins.

    Parameters
    ----------
    q : float
    first : ndarray or float
        Chance that one of the `k` pages of a slot is among the pages sent.
    k, covered : ndarray or float
        Pages of the run a slot, and share of the slots that have such pages.
    young, middle, old, all_old, free : ndarray or float
        Fractions before the step; `AgedStep` has them after it.

    Examples
    --------
    >>> step = aged_step(0.5, 0.5, 1.0, 1.0, 0.0, 0.0, 0.0, 0.2, 0.8)
    >>> float(step.found), float(step.inserted), float(step.free)
    (0.0, 0.5, 0.4)
    """
    taken = first * covered
    others = np.maximum(all_old - old, 0.0)
    renewed = first * old
    grabbed = taken * (others + free)
    return AgedStep(
        young + q * middle + renewed + grabbed,
        (1 - q) * middle,
        old - renewed,
        all_old - renewed - taken * others,
        free * (1 - taken),
        q * middle + renewed / k,
        grabbed + renewed * (1 - 1 / k),
        taken,
    )


def hits_without_insertion(q: float, middle: Floats, old: Floats) -> Floats:
    """Return the hits of pages that are looked up and not inserted."""
    return q * (middle + old)


def hazard_of(taken: Floats | float) -> Floats:
    """Return the negative logarithm of the remaining share; 40 where none remains.

    Examples
    --------
    >>> float(hazard_of(0.0)), round(float(hazard_of(0.5)), 4), round(float(hazard_of(1.0)), 6)
    (-0.0, 0.6931, 40.0)
    """
    hazard: Floats = -np.log(np.maximum(1.0 - taken, LEAST))
    return hazard


def _spans(first_page: float, pages: float, cache_pages: int) -> list[tuple[float, float]]:
    """Cut a segment into runs of at most C pages, or into few runs of several C."""
    if pages <= 0:
        return []
    runs = -(-pages // cache_pages)
    step = cache_pages * -(-runs // MOST_RUNS)
    begins = np.arange(first_page, first_page + pages, step)
    return [(float(low), float(min(low + step, first_page + pages))) for low in begins]


def _edges(spans: list[tuple[float, float]], cache_pages: int) -> Floats:
    """Cut the circle of slots at the ends of all spans, or equally where these are too many."""
    ends = np.mod(np.round(np.array([end for span in spans for end in span]), 6), cache_pages)
    edges = np.unique(np.concatenate([[0.0, float(cache_pages)], ends]))
    share = sum(min((high - low) / cache_pages, 1.0) for low, high in spans)
    if share * (len(edges) - 1) > MOST_TRACKS:
        return np.linspace(0.0, cache_pages, min(int(MOST_TRACKS / share), cache_pages) + 1)
    return edges


def _run(begin: float, end: float, edges: Floats, first_track: int) -> _Run:
    """Make the run of the pages [begin, end): how many of them each slot of its bins has."""
    width, cache_pages = np.diff(edges), edges[-1]

    def below(x: float) -> Floats:  # pages before x, by bin
        laps, rest = divmod(round(x, 6), cache_pages)
        return np.asarray(laps * width + np.clip(rest - edges[:-1], 0.0, width))

    a_slot = (below(end) - below(begin)) / width
    bins = np.flatnonzero(a_slot > 1e-9)
    a_slot = a_slot[bins]
    several, partly = np.maximum(a_slot, 1.0), np.minimum(a_slot, 1.0)
    return _Run(
        place=slice(first_track, first_track + len(bins)),
        bins=bins,
        k=several if several.max(initial=1.0) > 1 + 1e-6 else 1.0,
        covered=partly if partly.min(initial=1.0) < 1 - 1e-6 else 1.0,
        width=width[bins],
    )
