r"""The replay: a traced guest's migration from the trace's own page numbers, without fitted classes.

Law
---
A bitmap sync at guest run time :math:`T_1`, after one at :math:`T_0`, makes pages dirty that the trace's intervals in
:math:`(T_0, T_1]` name as dirty:

- a page that was clean at :math:`T_0`: whenever it was written;
- a page that was sent since :math:`T_0`: if its last write came after its 1 GiB chunk was cleared (KVM), or else after
  :math:`T_0`;
- a page that is still in the bitmap stays there.

A sync that falls into an interval splits it. The number of writes to a page is drawn from how often the page is dirty
in the whole trace, each write falls anywhere in the interval, and the writes before the sync are published now, the
others later. Where the trace logs every write with its time, the interval is split at that time. The trace starts over
when it ends. Throttling and full rings scale guest time, so a slowed guest gets through less of the trace.

The cursor walks real addresses from where it was, whatever a sync sets behind it. Where everything was sent and budget
was left, the search that found nothing leaves the cursor at the end of its block, so the next round begins behind that.
With XBZRLE each page goes through the exact cache: a page that is found and was not written since it was last sent is
unchanged; the lengths of the others are drawn from the trace's samples. Windows, threshold, decisions and switchover
are the event engine's.

Mirrors: `migration/ram.c` (bitmap, cursor, XBZRLE) on the loop of `migsim.engine.events.precopy`.
Leaves out: which pages are zero, as the trace only counts them (`zero_map` says what is assumed); the order of writes
inside an interval, so a sweep's pages come as random ones; KVM clears each RAM block's chunks by themselves, here they
are counted over all blocks.
Source: the mechanics reference, sections 2.4, 2.6, 3.6 and 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.engine.events.precopy import simulate
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.pages.contents import SampledLengths
from migsim.engine.pages.memory import PageMemory
from migsim.engine.pages.writes import TraceWrites
from migsim.engine.pages.xbzrle import PageXbzrle
from migsim.models.loop.first_pass import never_seen_pages
from migsim.results import MigrationResult
from migsim.units import format_bytes
from migsim.workload import Workload, WorkloadClass

if TYPE_CHECKING:
    from migsim.trace import Trace
    from migsim.trace.data_map import DataMap

__all__ = ["page_memory", "replay_pages", "zero_map"]

_BLOCK = 1 << 20
_PAGE_BYTES, _DIRTY_PAGE_BYTES = 16, 128
"""Memory for each page of the guest, and for each dirty page of an interval: at most 14 and 110 were measured."""


def replay_pages(
    trace: Trace,
    migration_of: Callable[[Workload], SimulationInput],
    *,
    dirty_fault_s: float,
    load: float = 1.0,
    seed: int = 1,
) -> tuple[MigrationResult, list[str]]:
    """Simulate the migration of a traced guest by the trace's own pages.

    Parameters
    ----------
    trace : Trace
        With page numbers (stream or dirty-ring); its first interval is what the guest does first.
    migration_of : callable
        Returns the migration of a workload: here of the trace's pages, by how often they are written.
    dirty_fault_s : float
        Guest time lost at a first write to a protected page.
    load : float
        Share of its full speed that the guest needs for its work.
    seed : int
        Of the draws: instants of writes inside an interval, lengths of encodings.

    Returns
    -------
    MigrationResult
        Kind "simulated".
    list of str
        What the replay took for granted, a sentence each.

    Raises
    ------
    TraceError
        The trace names no pages, is damaged, or needs more memory than there is.
    """
    trace.check_memory(
        "a replay", _PAGE_BYTES * trace.meta.total_pages + _DIRTY_PAGE_BYTES * trace.most_dirty_pages()
    )
    writes = TraceWrites(trace, np.random.default_rng(seed), dirty_fault_s=dirty_fault_s)
    zero = zero_map(trace, writes)
    migration = migration_of(_workload(trace, writes, int(np.count_nonzero(zero)), load))
    memory = page_memory(migration, writes, zero)
    return simulate(migration, seed=seed, memory=memory), _assumptions(trace, writes, memory)


def page_memory(migration: SimulationInput, writes: TraceWrites, zero: NDArray[np.bool_]) -> PageMemory:
    """Make the memory of a replayed migration.

    Parameters
    ----------
    migration : SimulationInput
        Only the load of its workload is used.
    writes : TraceWrites
    zero : ndarray of bool, shape (pages,)
    """
    xbzrle = None
    if migration.has_capability("xbzrle"):
        xbzrle = PageXbzrle(
            SampledLengths(writes),
            writes.rng,
            cache_size_bytes=int(migration.parameter("xbzrle-cache-size")),
            version=migration.version,
            terms=migration.terms,
        )
    return PageMemory(
        writes,
        zero,
        chunked=migration.chunked,
        fresh_pages=migration.fresh_pages,
        clock=GuestClock(migration.workload.load_fraction),
        xbzrle=xbzrle,
        block_pages=[block.pages for block in writes.trace.meta.ram_blocks],
    )


def zero_map(trace: Trace, writes: TraceWrites) -> NDArray[np.bool_]:
    """Say which pages are assumed to be zero, shape (pages,).

    A page that was written is not zero. Of the other pages, as many hold data as the trace's count of zero pages says:
    in each cell as many as its data map says, the first ones. A trace without a map only counts them: then those right
    behind the last written page of the first block, and where these are too few, further ones from page 0 on.
    """
    zero = np.asarray(writes.hits == 0)
    if trace.meta.zero_pages is None:
        return np.zeros(writes.total_pages, bool)
    if trace.meta.data_map is not None:
        return _zero_by_map(trace.meta.data_map, zero, trace.meta.zero_pages)
    data = int(np.count_nonzero(zero)) - trace.meta.zero_pages
    block = trace.meta.ram_blocks[0].pages if trace.meta.ram_blocks else writes.total_pages
    behind = block
    while behind and not writes.hits[max(behind - _BLOCK, 0) : behind].any():
        behind = max(behind - _BLOCK, 0)
    if behind:
        low = max(behind - _BLOCK, 0)
        behind = low + int(np.flatnonzero(writes.hits[low:behind])[-1]) + 1
    for part in (zero[behind:], zero[:behind]):
        for low in range(0, len(part), _BLOCK):
            if data <= 0:
                return zero
            pages = np.flatnonzero(part[low : low + _BLOCK])[:data]
            part[low + pages] = False
            data -= len(pages)
    return zero


def _zero_by_map(data_map: DataMap, unwritten: NDArray[np.bool_], zero_pages: int) -> NDArray[np.bool_]:
    """Return which pages are zero: of the `unwritten` ones all but the first of each cell, which hold data."""
    sizes, data = data_map.sizes(len(unwritten)), np.array(data_map.data_pages)
    begins = np.arange(len(sizes)) * data_map.cell_pages
    free = np.add.reduceat(unwritten, begins, dtype=np.int64)
    held = max(int(free.sum()) - zero_pages, 0)
    in_cell = never_seen_pages(data, sizes - data, sizes - free, float(held))
    wanted = np.diff(np.round(np.cumsum(in_cell)), prepend=0).astype(int)
    zero = unwritten.copy()
    for begin, size, count in zip(begins.tolist(), sizes.tolist(), wanted.tolist(), strict=True):
        if count > 0:
            cell = zero[begin : begin + size]
            cell[np.flatnonzero(cell)[:count]] = False
    return zero


def _workload(trace: Trace, writes: TraceWrites, zero_pages: int, load: float) -> Workload:
    """Make a workload of page classes by write rate; the dirty ring's law needs it."""
    rows = zip(writes.pages_of_hits.tolist(), writes.rate_of_hits.tolist(), strict=True)
    return Workload(
        ram_bytes=trace.meta.ram_bytes,
        ram_total_bytes=writes.total_pages * trace.meta.page_bytes,
        zero_pages=zero_pages,
        classes=tuple(
            WorkloadClass(pages=pages, writes_per_page_per_s=rate) for pages, rate in rows if pages and rate
        ),
        load_fraction=load,
        source=f"{trace.meta.collector} trace of {trace.meta.duration_s:.0f} s",
    )


def _assumptions(trace: Trace, writes: TraceWrites, memory: PageMemory) -> list[str]:
    """Say what the replay assumed, a sentence each."""
    notes = ["Of an interval's pages each was written at instants as likely as any other."]
    if writes.guest_s > writes.lap_s:
        notes.append(
            f"The trace holds {writes.lap_s:.1f} s of the guest and was replayed for {writes.guest_s:.1f} s: "
            "it was repeated from its start."
        )
    if trace.meta.zero_pages is None:
        notes.append("The trace does not say how many pages are zero: all are taken to hold data.")
    elif trace.meta.data_map is not None:
        cell = format_bytes(trace.meta.data_map.cell_pages * trace.meta.page_bytes)
        notes.append(
            f"Data lies where the trace found it, in parts of RAM of {cell}; within one it lies first."
        )
    else:
        notes.append(
            "Pages that were never written while traced hold data right behind the written ones, or are zero."
        )
    if not trace.meta.complete:
        notes.append("The trace was cut short.")
    if memory.xbzrle is not None and not memory.xbzrle.lengths.known:
        notes.append(
            "The trace does not show how contents change: XBZRLE is taken to find whole pages changed."
        )
    return notes
