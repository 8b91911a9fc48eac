"""The guest's memory page by page, for a replay: what `migsim.engine.events.memory.GuestMemory` does, with real pages.

A byte stands for each bit of QEMU's migration bitmap. The sender's cursor stays where it is during a sync, but a search
that finds nothing leaves it at the end of its block (`find_dirty_block`). All laws come from `migsim.models`.

Leaves out: the blocks' names in the stream; chunks are counted over all blocks together; a page that is still to be
sent and was written since its chunk was cleared is in the bitmap already, so that write changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.guest_clock import GuestClock
from migsim.engine.pages.writes import TraceWrites, Written
from migsim.engine.pages.xbzrle import LookUp, PageXbzrle
from migsim.engine.sending import Encoded, SendCosts, Sent
from migsim.models.dirty.hit_rates import last_write
from migsim.models.dirty.log import CHUNK_PAGES
from migsim.models.dirty.page_writes import random_fraction
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.switchover import PagesLeft

__all__ = ["PageMemory"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 1 << 20  # pages searched for set bits at a time
_SLICE = 1 << 14  # pages sent at a time
_XBZRLE_SLICE = 1 << 12
_TINY_S = 1e-12


class PageMemory:
    """State of every page, and the sender's position.

    Parameters
    ----------
    writes : TraceWrites
        What the guest writes.
    zero : ndarray of bool, shape (pages,)
        Pages that are zero; none of them is written to.
    chunked : bool
        Whether the protect window of a sent page begins when its chunk is cleared (KVM), or at the sync.
    fresh_pages : int, optional
        Data pages that the destination has yet to touch, the first ones; by default all.
    clock : GuestClock, optional
        How fast the guest runs; by default as fast as the wall.
    xbzrle : PageXbzrle, optional
        Encodes pages once all of RAM was sent.
    block_pages : sequence of int, optional
        Pages of each RAM block, in the order of their numbers; by default one block.

    Attributes
    ----------
    dirty : ndarray of bool
        The migration bitmap.
    generation : int
        Bitmap syncs so far, that of the setup included.
    """

    def __init__(
        self,
        writes: TraceWrites,
        zero: Bools,
        *,
        chunked: bool = True,
        fresh_pages: int | None = None,
        clock: GuestClock | None = None,
        xbzrle: PageXbzrle | None = None,
        block_pages: Sequence[int] = (),
    ) -> None:
        self.writes = writes
        self.zero = zero
        self.pages = len(zero)
        self.chunked = chunked
        self.clock = clock or GuestClock()
        self.xbzrle = xbzrle
        self.dirty = np.ones(self.pages, bool)
        self._raw_bytes, self._zero_bytes = float(NORMAL_PAGE_BYTES), float(ZERO_PAGE_BYTES)
        self.generation = 1
        self.cursor = 0
        self._block_ends = np.cumsum(block_pages or [self.pages])
        self._left = self.pages
        # Generation in which each page was last sent; 0: never. Two bytes are enough for nearly every migration.
        self._sent_in: NDArray[Any] = np.zeros(self.pages, np.uint16)
        self._changed = np.ones(self.pages, bool) if xbzrle else None  # since then
        self._fresh_below = _page_after(~zero, fresh_pages)
        self._cleared_at = np.zeros(-(-self.pages // CHUNK_PAGES))  # run time; valid where a page was sent
        self._cleared_in = np.zeros(len(self._cleared_at), np.int32)  # generation
        self._synced_at = 0.0
        self._walks = {1: _Walk(0, self.pages, 0.0)}
        self._queue = np.zeros(0, np.int64)
        self._searched = 0  # no bit is set from the queue's end to here

    @property
    def drawn(self) -> bool:
        """Whether dirty counts are drawn: they are, with each page's writes."""
        return True

    def set_page_bytes(self, raw: float, zero: float) -> None:
        """Set the bytes of a raw and of a zero page in the stream."""
        self._raw_bytes, self._zero_bytes = raw, zero

    @property
    def remaining_pages(self) -> float:
        """Set bits of the migration bitmap."""
        return float(self._left)

    @property
    def guest_s(self) -> float:
        """Guest time at the last sync."""
        return self.writes.guest_s

    def guest_now_s(self, now: float) -> float:
        """Guest time at `now`; time lost to faults since the last sync is not subtracted."""
        return self.guest_s + self.clock.run_s(now) - self._synced_at

    def remaining_by_kind(self) -> PagesLeft:
        """Set bits by what they cost to send."""
        zero = first = fresh = 0
        for low in range(0, self.pages, _BLOCK):
            pages = low + np.flatnonzero(self.dirty[low : low + _BLOCK])
            data = pages[~self.zero[pages]]
            never = data[self._sent_in[data] == 0]
            zero += len(pages) - len(data)
            first += len(never)
            fresh += int(np.searchsorted(never, self._fresh_below))
        return PagesLeft(self._left - zero - first, first - fresh, fresh, zero)

    def start(self, now: float) -> None:
        """Start logging: every page is dirty, nothing is protected before its chunk is cleared."""
        self._synced_at = self.clock.run_s(now)
        self._walks = {1: _Walk(0, self.pages, self._synced_at)}

    # ---- the bitmap sync ----

    def sync(self, now: float) -> float:
        """Set the bits of written pages, and return how many pages became dirty."""
        before = self._left
        run = self.clock.run_s(now)
        for written in self.writes.advance(run - self._synced_at, lambda pages: ~self.dirty[pages]):
            self._publish(written)
        self._synced_at = run
        self.generation += 1
        if self.generation > np.iinfo(self._sent_in.dtype).max:
            self._sent_in = self._sent_in.astype(np.int64)
        self._walks[self.generation] = _Walk(self.cursor, self.pages, run)
        self._queue, self._searched = self._queue[:0], self.cursor
        return float(self._left - before)

    def _publish(self, written: Written) -> None:
        """Set the bits of written pages; a page sent since the sync counts where its protect window has begun."""
        pages = written.pages
        counts = self._sent_in[pages] != self.generation
        if self._changed is not None:
            self._changed[pages[counts]] = True
        sent_at = np.flatnonzero(~counts)
        if len(sent_at):
            sent = pages[sent_at]
            begin = self._synced_at + written.begin_s
            length = written.end_s - written.begin_s
            last = begin + length * last_write(written.writes[sent_at], self.writes.rng)
            protected = self._protected_at(sent)
            counts[sent_at] = (last > protected) | (protected <= begin)
            if self._changed is not None:
                self._changed[sent[last > self._walks[self.generation].at(sent)]] = True
        published = pages[counts]
        new = published[~self.dirty[published]]
        self.dirty[new] = True
        self._left += len(new)

    def _protected_at(self, sent: Ints) -> Floats:
        """Run time from which on writes count, for pages that were sent since the sync."""
        if not self.chunked:
            return np.full(len(sent), self._synced_at)
        return np.asarray(self._cleared_at[sent // CHUNK_PAGES])

    # ---- sending ----

    def send(self, now: float, budget_s: float, budget_bytes: float, costs: SendCosts) -> Sent:
        """Send pages from the cursor on until the time, the bytes or the dirty pages are used up."""
        done = Sent()
        while budget_s - done.seconds > _TINY_S and done.stream_bytes < budget_bytes:
            if not self._left:
                self._wrap()
                self._walks[self.generation].all_sent = True
                self.cursor = int(self._block_ends[np.searchsorted(self._block_ends, self.cursor)])
                break
            pages = self._ahead()
            zero = self.zero[pages]
            seconds = self._page_s(pages, zero, costs)
            sizes = np.where(zero, self._zero_bytes, self._raw_bytes)
            raw = ~zero
            look_up = None
            if self.xbzrle is not None and self.xbzrle.started:
                look_up = self._look(self.xbzrle, pages[raw], now + done.seconds)
                seconds[raw] = seconds[raw] * look_up.raw + look_up.extra_s
                sizes[raw] = look_up.stream_bytes
            n = _begun(seconds, budget_s - done.seconds) if budget_s < np.inf else len(pages)
            n = min(n, _begun(sizes, budget_bytes - done.stream_bytes))
            lasts_s = float(seconds[:n].sum())
            if look_up is not None and self.xbzrle is not None:
                self.xbzrle.send(pages[:n][raw[:n]], look_up, self.generation)
                self.xbzrle.put_zero(pages[:n][zero[:n]], self.generation)
                raw[raw] = look_up.raw
            self._take(pages[:n], now + done.seconds, lasts_s)
            done.seconds += lasts_s
            done.stream_bytes += int(sizes[:n].sum())
            done.normal += int(np.count_nonzero(raw[:n]))
            done.zero += int(np.count_nonzero(zero[:n]))
        return done

    def encode_left(self, now: float) -> Encoded | None:
        """Encode the pages left once the guest has stopped at `now`; None where XBZRLE is off or has not begun."""
        xbzrle = self.xbzrle
        if xbzrle is None or not xbzrle.started:
            return None
        raw = encoded = stream_bytes = extra_s = overflowing = 0.0
        while self._left:
            pages = self._ahead()
            zero = self.zero[pages]
            look_up = self._look(xbzrle, pages[~zero], now, last_stage=True)
            xbzrle.send(pages[~zero], look_up, self.generation, last_stage=True)
            xbzrle.put_zero(pages[zero], self.generation)
            self._take(pages, now, 0.0)
            raw += int(np.count_nonzero(look_up.raw))
            encoded += int(np.count_nonzero(look_up.length > 0))
            overflowing += int(np.count_nonzero(look_up.length < 0))
            stream_bytes += int(look_up.stream_bytes.sum())
            extra_s += float(look_up.extra_s.sum())
        return Encoded(raw, encoded, stream_bytes, extra_s, overflowing)

    def _look(self, xbzrle: PageXbzrle, pages: Ints, at: float, *, last_stage: bool = False) -> LookUp:
        """Look pages up in the cache, with the contents that they have at a time."""
        run = self.clock.run_s(at)
        changed = np.ones(len(pages), bool) if self._changed is None else self._changed[pages]
        rates = self.writes.rates(pages)
        # The writes since the sync are drawn at the next one; what matters here is whether there was any.
        since_sync = self.writes.rng.random(len(pages)) < random_fraction(
            rates, max(run - self._synced_at, 0.0)
        )
        since_s = np.maximum(run - self._known_at(pages), 0.0)
        return xbzrle.look(pages, changed | since_sync, since_s, self.generation, last_stage=last_stage)

    def _known_at(self, pages: Ints) -> Floats:
        """Last run time at which each page is known to have held what was last sent of it.

        That is when it was sent or, where the cursor passed it later without sending it, the sync before that pass.
        """
        generations = self._sent_in[pages]
        at = np.zeros(len(pages))
        for generation in np.unique(generations[generations > 0]).tolist():
            of_generation = generations == generation
            at[of_generation] = self._walks[generation].at(pages[of_generation])
        before = self._walks.get(self.generation - 1)
        if before is not None:
            clean = (generations < self.generation - 1) & before.passed(pages)
            at[clean] = np.maximum(at[clean], before.begun_at)
        return at

    def _ahead(self) -> Ints:
        """Return some of the next pages to send, at least one; there must be a dirty page."""
        while not len(self._queue):
            if self._searched >= self.pages:
                self._wrap()
            low = self._searched
            self._queue = low + np.flatnonzero(self.dirty[low : low + _BLOCK])
            self._searched = min(low + _BLOCK, self.pages)
        if self.xbzrle is None or not self.xbzrle.started:
            return self._queue[:_SLICE]
        return self.xbzrle.one_lap(self._queue[:_XBZRLE_SLICE])

    def _wrap(self) -> None:
        """Go on at page 0 after the end of RAM."""
        self._searched = 0
        if self.xbzrle is not None:
            self.xbzrle.start()

    def _page_s(self, pages: Ints, zero: Bools, costs: SendCosts) -> Floats:
        never = np.where(pages < self._fresh_below, costs.fresh_page_s, costs.cold_page_s)
        data = np.where(self._sent_in[pages] == 0, never, costs.normal_page_s)
        return np.asarray(np.where(zero, costs.zero_page_s, data))

    def _take(self, pages: Ints, at: float, lasts_s: float) -> None:
        """Clear the bits of the queue's first pages, which are sent from `at` on for `lasts_s`."""
        self.dirty[pages] = False
        self._sent_in[pages] = self.generation
        if self._changed is not None:
            self._changed[pages] = False
        self._left -= len(pages)
        self._queue = self._queue[len(pages) :]
        self.cursor = int(pages[-1]) + 1
        begin, end = self.clock.run_s(at), self.clock.run_s(at + lasts_s)
        self._walks[self.generation].add(pages, begin, end)
        chunks, first = np.unique(pages // CHUNK_PAGES, return_index=True)
        cleared = self._cleared_in[chunks] != self.generation
        chunks, first = chunks[cleared], first[cleared]
        self._cleared_in[chunks] = self.generation
        self._cleared_at[chunks] = begin + (end - begin) * first / len(pages)


class _Walk:
    """The cursor's walk between two syncs: when it passed which page; it began at run time `begun_at`."""

    def __init__(self, origin: int, pages: int, begun_at: float) -> None:
        self.begun_at = begun_at
        self.all_sent = False
        self._origin, self._pages = origin, pages
        self._passed: list[int] = []
        self._at: list[float] = []

    def add(self, pages: Ints, begin: float, end: float) -> None:
        """Note pages that were sent from `begin` to `end`."""
        self._passed += [int(page - self._origin) % self._pages for page in (pages[0], pages[-1])]
        self._at += [begin, end]

    def at(self, pages: Ints) -> Floats:
        """When the pages were sent; only for pages that were sent in this walk."""
        return np.asarray(np.interp((pages - self._origin) % self._pages, self._passed, self._at))

    def passed(self, pages: Ints) -> Bools:
        """Whether the cursor passed each page, so that a dirty page would have been sent."""
        furthest = self._pages if self.all_sent else max(self._passed[-1:], default=-1)
        return np.asarray((pages - self._origin) % self._pages <= furthest)


def _begun(amounts: NDArray[np.generic], budget: float) -> int:
    """Count the pages that are begun before the sum of their amounts reaches the budget."""
    before = np.cumsum(amounts) - amounts
    return int(np.count_nonzero(before < budget - _TINY_S))


def _page_after(counted: Bools, limit: int | None) -> int:
    """Return the page number below which `limit` of the counted pages lie; past the last page where there are fewer."""
    left = len(counted) if limit is None else limit
    for low in range(0, len(counted), _BLOCK):
        block = np.flatnonzero(counted[low : low + _BLOCK])
        if len(block) > left:
            return low + int(block[left])
        left -= len(block)
    return len(counted)
