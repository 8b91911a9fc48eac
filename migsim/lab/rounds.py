"""Per-round figures from QEMU's trace log and from `query-migrate` samples.

A round lies between two bitmap syncs; round *k* begins with the sync that makes `dirty-sync-count` k. The log says when
each sync began and ended, to the microsecond, and gives the exact number of pages sent in a round: the pages pending
after its sync, less those pending before the next. Bytes and kinds of these pages come from the samples. They are
interpolated over the pages sent, not over time, because the limiter sends in bursts.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migsim.lab.trace_events import TraceEvent
from migsim.units import PAGE_BYTES

__all__ = ["Sync", "round_rows", "syncs"]

_PERIOD_S = 1.0
_CURVES = {
    "transferred_bytes": ("ram", "transferred"),
    "normal": ("ram", "normal"),
    "duplicate": ("ram", "duplicate"),
    "xbzrle_pages": ("xbzrle-cache", "pages"),
    "cache_misses": ("xbzrle-cache", "cache-miss"),
}


@dataclass(frozen=True)
class Sync:
    """One bitmap sync.

    Attributes
    ----------
    start, end : float
        On the host's clock.
    dirty_pages : int
        Pages that the sync found newly dirty; 0 for the first sync, which declares every page dirty.
    pending_bytes : int or None
        Dirty memory right after the sync; None where the log does not say it, as for the last sync.
    """

    start: float
    end: float
    dirty_pages: int
    pending_bytes: int | None = None


def syncs(trace: Sequence[TraceEvent]) -> list[Sync]:
    """Return the bitmap syncs of a source's trace log, in order.

    QEMU prints the pages that became dirty *in the current rate period* (`migration_bitmap_sync`). A sync ends the
    period when more than a second has passed since the period began, so the pages of one sync are differences of these
    counts. QEMU compares whole milliseconds: a period of about one second may have gone on. This shows where a sync
    seems to have found more pages than are pending after it.

    Examples
    --------
    >>> [sync.dirty_pages for sync in syncs([
    ...     TraceEvent(1.0, "migration_bitmap_sync_start", ""),
    ...     TraceEvent(1.1, "migration_bitmap_sync_end", "dirty_pages 0"),
    ...     TraceEvent(1.5, "migration_bitmap_sync_start", ""),
    ...     TraceEvent(1.6, "migration_bitmap_sync_end", "dirty_pages 12"),
    ...     TraceEvent(1.7, "migration_bitmap_sync_start", ""),
    ...     TraceEvent(1.8, "migration_bitmap_sync_end", "dirty_pages 15"),
    ... ])]
    [0, 12, 3]
    """
    found: list[Sync] = []
    start: float | None = None
    period_start: float | None = None
    # Pages counted in the current period, and in the periods that the last sync and the one before it ended.
    counted = closed = before = 0
    pending_is_due = False
    for event in trace:
        if event.name == "migration_bitmap_sync_start":
            start = event.seconds
            period_start = start if period_start is None else period_start
            pending_is_due = False
        elif event.name == "migration_bitmap_sync_end" and start is not None and period_start is not None:
            in_period = event.number("dirty_pages") or 0
            # A smaller count than the last one can only belong to a new period, whatever the clocks say.
            newly = in_period - counted if in_period >= counted else in_period
            found.append(Sync(start, event.seconds, newly))
            before, counted = closed, in_period
            closed = 0
            if event.seconds > period_start + _PERIOD_S:
                period_start, counted, closed = event.seconds, 0, in_period
            start, pending_is_due = None, True
        elif pending_is_due and event.name.startswith("migrate_pending"):
            last, pending = found[-1], event.number("size")
            newly = last.dirty_pages
            if pending is not None and 0 < before <= newly and newly * PAGE_BYTES > pending:
                newly -= before
                period_start, counted, closed = last.end, 0, last.dirty_pages
            found[-1] = Sync(last.start, last.end, newly, pending)
            pending_is_due = False
    return found


def round_rows(
    trace: Sequence[TraceEvent], samples: Sequence[dict[str, Any]], began: float, ended: float
) -> list[dict[str, Any]]:
    """Return a row of `migsim.results.iterations` for each sync.

    Parameters
    ----------
    trace : sequence of TraceEvent
        Of the source.
    samples : sequence of dict
        `query-migrate` answers, each with its ``seconds`` on the host clock, in order.
    began, ended : float
        Begin and end of the migration on the host's clock.
    """
    found = syncs(trace)
    sent = _sent_pages(found, _pages(samples[-1]) if samples else 0)
    done = [float(sum(sent[:index])) for index in range(len(sent) + 1)]
    curves = {column: _over_pages(samples, path, done) for column, path in _CURVES.items()}
    ends = [*(sync.start for sync in found[1:]), ended]
    rows = []
    for index, sync in enumerate(found):
        after = next((s for s in samples if s["seconds"] >= sync.end), {})
        pending = sync.pending_bytes
        if pending is None and index == len(found) - 1:
            pending = sent[index] * PAGE_BYTES  # the last round sent all remaining pages
        rows.append(
            {
                "dirty_sync_count": index + 1,
                "start_s": sync.start - began,
                "end_s": ends[index] - began,
                "sync_s": sync.end - sync.start,
                "dirty_pages": sync.dirty_pages,
                "remaining_bytes_after_sync": pending,
                "dirty_pages_rate": after.get("ram", {}).get("dirty-pages-rate"),
                "mbps": after.get("ram", {}).get("mbps"),
            }
            | {column: curve[index + 1] - curve[index] for column, curve in curves.items()}
        )
    return rows


def _sent_pages(found: Sequence[Sync], total: int) -> list[int]:
    """Return the pages sent in each round; `total` is the number of pages that QEMU counted at the end."""
    sent: list[int] = []
    for sync, following in itertools.pairwise(found):
        if sync.pending_bytes is None:
            sent.append(0)
        elif following.pending_bytes is not None:
            sent.append((sync.pending_bytes - following.pending_bytes) // PAGE_BYTES + following.dirty_pages)
        else:
            # Nothing is sent between the sync that allowed the switchover and the last one, except where the
            # migration ended because no dirty page remained.
            remaining = sync.pending_bytes // PAGE_BYTES + following.dirty_pages
            sent.append(max(total - sum(sent) - remaining, 0))
    return [*sent, max(total - sum(sent), 0)] if found else []


def _pages(sample: dict[str, Any]) -> int:
    """Return the number of pages of all kinds that a sample counts as handled."""
    ram, xbzrle = sample.get("ram", {}), sample.get("xbzrle-cache", {})
    encoded = xbzrle.get("pages", 0) + sample.get("compression", {}).get("pages", 0)
    if "encoding-rate" in xbzrle:  # from 5.1 on a page that overflows counts in `pages` and in `normal`
        encoded -= xbzrle.get("overflow", 0)
    return int(ram.get("normal", 0) + ram.get("duplicate", 0) + encoded)


def _over_pages(
    samples: Sequence[dict[str, Any]], path: tuple[str, str], done: Sequence[float]
) -> list[float]:
    """Interpolate a counter at the numbers `done` of sent pages; the last value is the counter's last one."""
    part, name = path
    pages, values = [0.0], [0.0]
    for sample in samples:
        if name in sample.get(part, {}):
            pages.append(float(_pages(sample)))
            values.append(float(sample[part][name]))
    return [*(_at(pages, values, edge) for edge in done[:-1]), values[-1]]


def _at(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    right = bisect.bisect_right(xs, x)
    if right == 0:
        return ys[0]
    if right == len(xs):
        return ys[-1]
    weight = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + weight * (ys[right] - ys[right - 1])
