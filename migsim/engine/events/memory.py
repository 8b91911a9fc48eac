"""The guest's RAM in the event engine: segments with fluid dirty counts, and the sender's position.

A segment holds pages of one class inside one 1 GiB chunk (`migsim.engine.segments`). Its dirty count is an expected
value, or a draw around it, so no event is ever a page. All laws come from `migsim.models`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migsim.engine.events.xbzrle import XbzrleSender
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.segments import cut
from migsim.engine.sending import Budget, Encoded, SendCosts, Sent
from migsim.models.dirty.log import reported_pages
from migsim.models.dirty.page_writes import arc_fraction, drawn_pages, guest_seconds, random_fraction
from migsim.models.guest.activity import NOT_WANDERING, TIMES_S, end_and_mean
from migsim.models.guest.activity import activity as relative_activity
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES, mean_page_s
from migsim.models.loop.switchover import PagesLeft
from migsim.workload import Workload

__all__ = ["GuestMemory", "fluid_memory"]

Floats = NDArray[np.float64]

_MOST_SEGMENTS_AHEAD = 4096


class GuestMemory:
    """Dirty state of every segment, and the sender's position.

    Parameters
    ----------
    workload : Workload
        Page classes with their places.
    chunked : bool
        Whether the protect window of a sent page begins when its chunk is cleared (KVM), or at the sync.
    dirty_fault_s : float
        Guest time lost at the first write to a protected page.
    rng : numpy.random.Generator, optional
        Draws dirty counts around their expectation; None: expected counts.
    fresh_pages : float, optional
        Data pages that the destination has yet to touch; by default all.
    clock : GuestClock, optional
        How fast the guest runs; by default as fast as the wall.

    Attributes
    ----------
    xbzrle : XbzrleSender or None
        Encodes pages once all of RAM was sent.
    guest_s : float
        Guest time at the last sync.
    writing_s : float
        The same, longer where the guest wrote faster than in the mean: what writes are counted by.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        chunked: bool = True,
        dirty_fault_s: float = 0.0,
        rng: np.random.Generator | None = None,
        fresh_pages: float | None = None,
        clock: GuestClock | None = None,
    ) -> None:
        self.wandering = workload.wandering if rng is not None else NOT_WANDERING
        self.segments = cut(workload)
        self.pages = self.segments.pages
        self.chunk = self.segments.chunk
        self.rate = self.segments.rate
        self.is_sweep = self.segments.is_sweep
        self.is_zero = self.segments.is_zero
        self.written = self.rate > 0
        self.clock = clock or GuestClock()
        self.xbzrle: XbzrleSender | None = None
        self.chunked = chunked
        self.dirty_fault_s = dirty_fault_s
        self.rng = rng
        # The sender goes from segment to segment: lists are several times as fast as arrays for that.
        self._zero: list[bool] = self.is_zero.tolist()
        self._chunk: list[int] = self.chunk.tolist()
        self._unsent: list[float] = self.pages.tolist()
        self._remaining: float | None = None  # sum of `_unsent`; None: not added up since the last change
        self._sent = [0.0] * len(self.pages)  # since the last sync
        first = np.where(self.is_zero, 0.0, self.pages)  # never sent so far
        self._first: list[float] = first.tolist()
        self._fresh: list[float] = _fresh(first, fresh_pages).tolist()
        self.set_page_bytes(NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES)
        self.cursor = 0
        # Where a sweep stands when the migration begins is unknown.
        self.guest_s = self.writing_s = 0.0 if rng is None else float(rng.uniform(0.0, 1000.0))
        # Levels of the processes by which its activity wanders.
        self._levels = (
            rng.standard_normal(len(TIMES_S)).tolist() if rng is not None and any(self.wandering) else []
        )
        self._cleared_at: dict[int, float] = {}  # run time of each chunk's clearing
        self._synced_at = 0.0  # run time of the last sync

    @property
    def drawn(self) -> bool:
        """Whether dirty counts are drawn around their expectation."""
        return self.rng is not None

    def set_page_bytes(self, raw: float, zero: float) -> None:
        """Set the bytes of a raw and of a zero page in the stream."""
        self._page_bytes = [zero if is_zero else raw for is_zero in self._zero]

    @property
    def remaining_pages(self) -> float:
        """Set bits of the migration bitmap."""
        if self._remaining is None:
            self._remaining = sum(self._unsent)
        return self._remaining

    def remaining_by_kind(self) -> PagesLeft:
        """Set bits by what they cost to send."""
        unsent = np.array(self._unsent)
        zero = float(unsent[self.is_zero].sum())
        fresh = float(np.minimum(self._fresh, unsent).sum())
        first = float(np.minimum(self._first, unsent).sum())
        return PagesLeft(self.remaining_pages - zero - first, first - fresh, fresh, zero)

    def start(self, now: float) -> None:
        """Start logging: every page is dirty, nothing is protected before its chunk is cleared."""
        self._synced_at = self.clock.run_s(now)

    def sync(self, now: float) -> float:
        """Set the bits of written pages, and return how many pages became dirty."""
        before = self.remaining_pages
        run = self.clock.run_s(now)
        unsent, sent, clearing = np.array(self._unsent), np.array(self._sent), self._clearing(run)
        activity = self._activity(run - self._synced_at)
        dirty, seconds = self._after(run - self._synced_at, activity, unsent, sent, clearing)
        if self.xbzrle is not None:
            cleared = self.writing_s + clearing * activity * seconds
            self.xbzrle.new_generation(sent, dirty, cleared, self.writing_s + activity * seconds, activity)
        self._unsent, self._remaining = dirty.tolist(), None
        self._sent = [0.0] * len(dirty)
        self.guest_s += seconds
        self.writing_s += activity * seconds
        self._synced_at = run
        self._cleared_at.clear()
        return self.remaining_pages - before

    def _page_s(self, i: int, left: float, costs: SendCosts) -> float:
        """Mean cost of a segment's unsent pages, of which some may never have been sent."""
        if not self._first[i]:
            return costs.normal_page_s
        first = min(self._first[i] / left, 1.0)
        fresh = min(self._fresh[i] / left, first)
        return mean_page_s(first, fresh, costs.normal_page_s, costs.cold_page_s, costs.fresh_page_s)

    def guest_now_s(self, now: float) -> float:
        """Guest time at `now`; time lost to faults since the last sync is not subtracted."""
        return self.guest_s + self.clock.run_s(now) - self._synced_at

    def writing_now_s(self, now: float) -> float:
        """Time of writing at `now`, as if the activity since the last sync were its mean."""
        return self.writing_s + self.clock.run_s(now) - self._synced_at

    def _activity(self, wall: float) -> float:
        """Draw how fast the guest wrote since the last sync, `wall` s of run time ago, relative to its mean."""
        if not self._levels or self.rng is None:
            return 1.0
        deviates = self.rng.standard_normal(2 * len(TIMES_S)).tolist()
        means = []
        for k, time_s in enumerate(TIMES_S):
            drawn = end_and_mean(self._levels[k], time_s, wall, deviates[2 * k], deviates[2 * k + 1])
            self._levels[k] = drawn[0]
            means.append(drawn[1])
        return relative_activity(self.wandering, (means[0], means[1], means[2]), wall)

    def _after(
        self, wall: float, activity: float, unsent: Floats, sent: Floats, clearing: Floats
    ) -> tuple[Floats, float]:
        """Dirty pages after a sync now, and the guest time that passed; each depends on the other: a fixed point."""
        seconds = wall
        expected = unsent
        for _ in range(3):
            since_sync = self._written(0.0, activity * seconds)
            since_clear = self._written(clearing * activity * seconds, activity * seconds)
            expected = reported_pages(self.pages, unsent, sent, since_sync, since_clear)
            if not self.dirty_fault_s:
                break
            seconds = guest_seconds(wall, float((expected - unsent).sum()), self.dirty_fault_s)
        if self.rng is None:
            return expected, seconds
        return self._drawn(expected, unsent, self.rng), seconds

    def _clearing(self, run: float) -> Floats:
        """When each segment's chunk was cleared, as a fraction of the time from the last sync to run time `run`."""
        wall = run - self._synced_at
        if not self.chunked or not self._cleared_at or wall <= 0:
            return np.zeros_like(self.pages)
        times = np.full(int(self.chunk.max()) + 1, self._synced_at)
        times[list(self._cleared_at)] = list(self._cleared_at.values())
        return np.asarray(np.clip((times - self._synced_at) / wall, 0.0, 1.0)[self.chunk])

    def _written(self, start: Floats | float, end: float) -> Floats:
        """Fraction of each segment written between two instants of writing time since the last sync."""
        fraction = np.where(self.written, random_fraction(self.rate, end - np.asarray(start)), 0.0)
        if self.is_sweep.any():
            sweeps = self.is_sweep
            begin = np.broadcast_to(np.asarray(start, float), self.pages.shape)[sweeps]
            fraction[sweeps] = arc_fraction(
                self.segments.offset[sweeps],
                self.segments.length[sweeps],
                self.rate[sweeps] * (self.writing_s + begin),
                self.rate[sweeps] * (self.writing_s + end),
            )
        return fraction

    def _drawn(self, expected: Floats, unsent: Floats, rng: np.random.Generator) -> Floats:
        """Draw counts around the expectation; sweeps have no spread."""
        deviates = rng.standard_normal(len(unsent))
        drawn = unsent.copy()
        may = np.flatnonzero(expected > unsent)
        drawn[may] += [
            drawn_pages(*of_segment)
            for of_segment in zip(
                (expected - unsent)[may].tolist(),
                (self.pages - unsent)[may].tolist(),
                deviates[may].tolist(),
                self.is_sweep[may].tolist(),
                strict=True,
            )
        ]
        return drawn

    def send(self, now: float, budget_s: float, budget_bytes: float, costs: SendCosts) -> Sent:
        """Send pages from the cursor on until the time, the bytes or the dirty pages are used up."""
        done, budget = Sent(), Budget(now, budget_s, budget_bytes, costs)
        count, unsent = len(self._unsent), self._unsent
        self._remaining = None
        for _ in range(count + 1):
            i = self.cursor
            if unsent[i] > 0 and self._send_segment(i, done, budget):
                return done
            self.cursor = (i + 1) % count
            if self.cursor == 0 and self.xbzrle:
                self.xbzrle.start()
        # A scan that finds nothing stops at the end of its block, not where it began (find_dirty_block): the next one
        # begins at the start of RAM.
        self.cursor = 0
        return done

    def alike_ahead(self) -> tuple[str | None, float]:
        """Kind and number of the pages ahead of the cursor that cost the same; the kind is None where none do."""
        kind, pages = None, 0.0
        for i in range(self.cursor, min(self.cursor + _MOST_SEGMENTS_AHEAD, len(self._unsent))):
            left = self._unsent[i]
            if left > 0:
                kind = kind or self._kind(i, left)
                if kind is None or self._kind(i, left) != kind:
                    break
                pages += left
        return kind, pages

    def _kind(self, i: int, left: float) -> str | None:
        """Kind of the unsent pages of a segment, or None where they are mixed."""
        if self._zero[i] or not self._first[i]:
            return "zero" if self._zero[i] else "again"
        if abs(self._first[i] - left) > 1e-9 * left or 0 < self._fresh[i] < left * (1 - 1e-9):
            return None
        return "fresh" if self._fresh[i] else "cold"

    def send_alike(self, times: int, pages: float, seconds: float, now: float, costs: SendCosts) -> None:
        """Send the pages ahead, which cost alike, in `times` windows of `pages` pages and `seconds` each."""
        sent, i = 0.0, self.cursor - 1
        while times * pages - sent > 1e-6:
            i += 1
            left = self._unsent[i]
            if left > 0:
                page_s = costs.zero_page_s if self._zero[i] else self._page_s(i, left, costs)
                windows = int(sent / pages + 1e-9)
                most = min(left, times * pages - sent)
                self._take(i, most, now + windows * seconds + (sent - windows * pages) * page_s)
                sent += most
        self.cursor, self._remaining = max(i, self.cursor), None

    def _send_segment(self, i: int, done: Sent, budget: Budget) -> bool:
        """Send a segment's pages, and say whether the budget was used up before all were sent."""
        xbzrle = self.xbzrle if self.xbzrle and self.xbzrle.started else None
        if xbzrle and not self._zero[i]:
            return self._send_encoded(xbzrle, i, done, budget)
        left, zero, page_bytes = self._unsent[i], self._zero[i], self._page_bytes[i]
        page_s = budget.costs.zero_page_s if zero else self._page_s(i, left, budget.costs)
        most = min(
            left,
            (budget.seconds - done.seconds) / max(page_s, 1e-12),
            (budget.stream_bytes - done.stream_bytes) / page_bytes,
        )
        if most <= 0:
            return True
        self._take(i, most, budget.now + done.seconds)
        done.seconds += most * page_s
        done.stream_bytes += most * page_bytes
        if not zero:
            done.normal += most
        else:
            done.zero += most
            if xbzrle:
                xbzrle.put_zero(i, most)
        return self._unsent[i] > 0

    def _send_encoded(self, xbzrle: XbzrleSender, i: int, done: Sent, budget: Budget) -> bool:
        """Send a segment's pages through XBZRLE's cache; the same answer as `_send_segment` gives."""
        page_s = self._page_s(i, self._unsent[i], budget.costs)
        # First assume the worst case (every page raw, and put into the cache); then use the cost of those just sent.
        took_s, took_bytes = page_s + xbzrle.worst_page_s, float(NORMAL_PAGE_BYTES)
        while self._unsent[i] > 0:
            left = self._unsent[i]
            most = min(
                left,
                (budget.seconds - done.seconds) / max(took_s, 1e-12),
                (budget.stream_bytes - done.stream_bytes) / max(took_bytes, 1e-3),
            )
            if most <= 0 or most < min(left, 1.0):
                return True
            at = budget.now + done.seconds
            self._take(i, most, at)
            encoded = xbzrle.send(i, most, self.writing_now_s(at))
            seconds = encoded.raw * page_s + encoded.extra_s
            took_s, took_bytes = seconds / most, encoded.stream_bytes / most
            done.seconds += seconds
            done.stream_bytes += encoded.stream_bytes
            done.normal += encoded.raw
        return False

    def _take(self, i: int, pages: float, at: float) -> None:
        """Clear the bits of some of a segment's pages, of which the first is sent at `at`."""
        left = self._unsent[i]
        stay = left - pages
        self._unsent[i] = stay if stay > 1e-6 else 0.0
        if self._first[i]:
            self._first[i] *= 1 - pages / left
            self._fresh[i] *= 1 - pages / left
        self._sent[i] += pages
        chunk = self._chunk[i]
        if chunk not in self._cleared_at:
            self._cleared_at[chunk] = self.clock.run_s(at)

    def encode_left(self, now: float) -> Encoded | None:
        """Encode the pages left once the guest has stopped at `now`; None where XBZRLE is off or has not begun."""
        if self.xbzrle is None or not self.xbzrle.started:
            return None
        left = np.flatnonzero((np.array(self._unsent) > 0) & ~self.is_zero)
        at = self.writing_now_s(now)
        encoded = [self.xbzrle.send(int(i), self._unsent[i], at, last_stage=True) for i in left]
        return Encoded(*map(sum, zip(*encoded, strict=True))) if encoded else Encoded(0.0, 0.0, 0.0, 0.0, 0.0)


def _fresh(first: Floats, limit: float | None) -> Floats:
    """Pages of each segment that the destination has yet to touch: the first pages in address order, up to a limit."""
    if limit is None:
        return first
    before = np.cumsum(first) - first
    return np.asarray(np.clip(limit - before, 0.0, first))


def fluid_memory(migration: SimulationInput, seed: int | None) -> GuestMemory:
    """Make a migration's `GuestMemory`: with expected dirty counts, or with a seed with draws around them."""
    memory = GuestMemory(
        migration.workload,
        chunked=migration.chunked,
        dirty_fault_s=migration.terms["dirty_fault_s"],
        rng=None if seed is None else np.random.default_rng(seed),
        fresh_pages=migration.fresh_pages,
        clock=GuestClock(migration.workload.load_fraction),
    )
    if migration.has_capability("xbzrle"):
        memory.xbzrle = XbzrleSender(
            memory.segments,
            migration.workload,
            cache_size_bytes=int(migration.parameter("xbzrle-cache-size")),
            version=migration.version,
            terms=migration.terms,
        )
    return memory
