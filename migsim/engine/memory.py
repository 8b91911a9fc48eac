"""The guest's memory as an engine sees it: pieces of RAM with fluid dirty counts.

RAM is cut into segments in address order; a segment holds pages of one class inside one 1 GiB chunk. Counts are
expected values (or draws around them), so no event is ever a page. All laws come from `migsim.models`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migsim.engine.guest_clock import GuestClock
from migsim.engine.segments import cut
from migsim.engine.xbzrle import Encoded, XbzrleSender
from migsim.models.dirty_log import reported_pages
from migsim.models.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.page_writes import arc_fraction, guest_seconds, random_fraction
from migsim.models.switchover import PagesLeft
from migsim.scenario import Workload

__all__ = ["GuestMemory", "SendCosts", "Sent"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SendCosts:
    """Time that the sender needs, in seconds.

    Attributes
    ----------
    normal_page_s, cold_page_s, fresh_page_s : float
        A page sent raw again; one sent for the first time, in no cache; and one that the destination has to find
        memory for besides.
    zero_page_s : float
        A page found zero.
    """

    normal_page_s: float
    cold_page_s: float
    fresh_page_s: float
    zero_page_s: float


@dataclass(slots=True)
class Sent:
    """What one iterate call sent: raw and zero pages; the encoded ones are in the bytes."""

    seconds: float = 0.0
    stream_bytes: float = 0.0
    normal: float = 0.0
    zero: float = 0.0


class GuestMemory:
    """Dirty state of every segment, and the sender's position.

    Parameters
    ----------
    workload : Workload
        Page classes with their places.
    chunked : bool
        Whether a sent page's protect window begins at its chunk's clearing (KVM) or at the sync.
    dirty_fault_s : float
        Guest time lost at the first write to a protected page.
    rng : numpy.random.Generator, optional
        When given, dirty counts are drawn around their expectation.
    fresh_pages : float, optional
        Data pages that the destination has yet to touch; by default all.
    clock : GuestClock, optional
        How fast the guest runs; by default as fast as the wall.

    Attributes
    ----------
    xbzrle : XbzrleSender or None
        Encodes what is sent once RAM was gone through.
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
        self.unsent = self.pages.copy()
        self.sent = np.zeros_like(self.pages)
        self.first = np.where(self.is_zero, 0.0, self.pages)  # never sent so far
        self.fresh = self._fresh(fresh_pages)
        self.cursor = 0
        # Nobody knows where a sweep stands when the migration begins.
        self.guest_s = 0.0 if rng is None else float(rng.uniform(0.0, 1000.0))
        self._cleared_at: dict[int, float] = {}  # in the clock's seconds, as the last sync
        self._synced_at = 0.0

    @property
    def remaining_pages(self) -> float:
        """Set bits of the migration bitmap."""
        return float(self.unsent.sum())

    def remaining_by_kind(self) -> PagesLeft:
        """Set bits by what they cost to send."""
        zero = float(self.unsent[self.is_zero].sum())
        fresh = float(np.minimum(self.fresh, self.unsent).sum())
        first = float(np.minimum(self.first, self.unsent).sum())
        return PagesLeft(self.remaining_pages - zero - first, first - fresh, fresh, zero)

    def _fresh(self, limit: float | None) -> Floats:
        """Pages of each segment that the destination has yet to touch: the first ones, up to a limit."""
        if limit is None:
            return self.first.copy()
        before = np.cumsum(self.first) - self.first
        return np.clip(limit - before, 0.0, self.first)

    def start(self, now: float) -> None:
        """Start logging: every page is dirty, nothing is protected before its chunk is cleared."""
        self._synced_at = self.clock.run_s(now)

    def sync(self, now: float) -> float:
        """Publish what was written; returns the pages that are newly dirty."""
        before = self.remaining_pages
        run = self.clock.run_s(now)
        self.unsent, seconds = self._after(run - self._synced_at)
        if self.xbzrle is not None:
            cleared = self.guest_s + self._clearing(run - self._synced_at) * seconds
            self.xbzrle.new_generation(self.sent, self.unsent, cleared, self.guest_s + seconds)
        self.sent[:] = 0.0
        self.guest_s += seconds
        self._synced_at = run
        self._cleared_at.clear()
        return self.remaining_pages - before

    def _page_s(self, i: int, left: float, costs: SendCosts) -> float:
        """Mean cost of a segment's pages: some of them may go for the first time."""
        first = min(float(self.first[i]) / left, 1.0)
        fresh = min(float(self.fresh[i]) / left, first)
        return (
            (1 - first) * costs.normal_page_s
            + (first - fresh) * costs.cold_page_s
            + fresh * costs.fresh_page_s
        )

    def guest_now_s(self, now: float) -> float:
        """Guest time at `now`, the faults since the last sync left out."""
        return self.guest_s + self.clock.run_s(now) - self._synced_at

    def _after(self, wall: float) -> tuple[Floats, float]:
        """Set bits after a sync now, and the guest time that passed, found together by fixed point."""
        clearing = self._clearing(wall)
        seconds = wall
        expected = self.unsent
        for _ in range(3):
            since_sync = self._written(0.0, seconds)
            since_clear = self._written(clearing * seconds, seconds)
            expected = reported_pages(self.pages, self.unsent, self.sent, since_sync, since_clear)
            if not self.dirty_fault_s:
                break
            seconds = guest_seconds(wall, float((expected - self.unsent).sum()), self.dirty_fault_s)
        if self.rng is None:
            return expected, seconds
        return self._drawn(expected, self.rng), seconds

    def _clearing(self, wall: float) -> Floats:
        """When each segment's chunk was cleared, as a fraction of the time since the last sync."""
        if not self.chunked or not self._cleared_at or wall <= 0:
            return np.zeros_like(self.pages)
        times = np.array([self._cleared_at.get(int(c), self._synced_at) for c in self.chunk])
        return np.asarray(np.clip((times - self._synced_at) / wall, 0.0, 1.0))

    def _written(self, start: Floats | float, end: float) -> Floats:
        """Fraction of each segment written between two instants of guest time since the last sync."""
        fraction = np.where(self.written, random_fraction(self.rate, end - np.asarray(start)), 0.0)
        if self.is_sweep.any():
            s = self.is_sweep
            first = np.broadcast_to(np.asarray(start, float), self.pages.shape)[s]
            fraction[s] = arc_fraction(
                self.segments.offset[s],
                self.segments.length[s],
                self.rate[s] * (self.guest_s + first),
                self.rate[s] * (self.guest_s + end),
            )
        return fraction

    def _drawn(self, expected: Floats, rng: np.random.Generator) -> Floats:
        """Draw counts around the expectation with a binomial's spread; sweeps have none."""
        new = expected - self.unsent
        room = np.maximum(self.pages - self.unsent, 1e-9)
        variance = np.where(self.is_sweep, 0.0, np.maximum(new * (1 - new / room), 0.0))
        drawn = new + np.sqrt(variance) * rng.standard_normal(len(new))
        drawn_new: Floats = np.clip(np.where(new > 0, drawn, 0.0), 0.0, self.pages - self.unsent)
        return self.unsent + drawn_new

    def send(self, now: float, budget_s: float, budget_bytes: float, costs: SendCosts) -> Sent:
        """Send from the cursor on until time, quota or the bitmap is used up."""
        done = Sent()
        count = len(self.pages)
        for _ in range(count + 1):
            i = self.cursor
            while self.unsent[i] > 0:
                left = float(self.unsent[i])
                coded = self.xbzrle if self.xbzrle and self.xbzrle.started and not self.is_zero[i] else None
                page_s = costs.zero_page_s if self.is_zero[i] else self._page_s(i, left, costs)
                page_bytes = ZERO_PAGE_BYTES if self.is_zero[i] else NORMAL_PAGE_BYTES
                # An encoded page costs less than the raw one that is reckoned with, so there may be room left.
                longest_s = page_s + (coded.worst_page_s if coded else 0.0)
                most = min(
                    left,
                    max((budget_s - done.seconds) / max(longest_s, 1e-12), 0.0),
                    max((budget_bytes - done.stream_bytes) / page_bytes, 0.0),
                )
                if most <= 0 or (coded and most < min(left, 1.0)):
                    return done
                self._take(i, most, now + done.seconds)
                if coded:
                    out = coded.send(i, most, self.guest_now_s(now + done.seconds))
                    done.seconds += out.raw * page_s + out.extra_s
                    done.stream_bytes += out.stream_bytes
                    done.normal += out.raw
                    continue
                done.seconds += most * page_s
                done.stream_bytes += most * page_bytes
                if self.is_zero[i]:
                    done.zero += most
                    if self.xbzrle and self.xbzrle.started:
                        self.xbzrle.put_zero(i, most)
                else:
                    done.normal += most
                if most < left:
                    return done
            self.cursor = (i + 1) % count
            if self.cursor == 0 and self.xbzrle:
                self.xbzrle.start()
        # A scan that finds nothing stops at its block's end, not where it began: the next one begins with RAM's start.
        self.cursor = 0
        return done

    def _take(self, i: int, pages: float, at: float) -> None:
        """Clear the bits of some pages of a segment, which are sent from `at` on."""
        left = float(self.unsent[i])
        self.unsent[i] = left - pages if left - pages > 1e-6 else 0.0
        self._cleared_at.setdefault(int(self.chunk[i]), self.clock.run_s(at))
        self.first[i] *= 1 - pages / left
        self.fresh[i] *= 1 - pages / left
        self.sent[i] += pages

    def encode_left(self, now: float) -> Encoded | None:
        """Encode what is left, the guest standing still since `now`; None where XBZRLE is off or has not begun."""
        if self.xbzrle is None or not self.xbzrle.started:
            return None
        written = np.flatnonzero((self.unsent > 0) & ~self.is_zero)
        at = self.guest_now_s(now)
        parts = [self.xbzrle.send(int(i), float(self.unsent[i]), at, last_stage=True) for i in written]
        return Encoded(
            raw=sum(p.raw for p in parts),
            encoded=sum(p.encoded for p in parts),
            stream_bytes=sum(p.stream_bytes for p in parts),
            extra_s=sum(p.extra_s for p in parts),
        )
