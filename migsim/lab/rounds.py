"""Per-round figures from QEMU's trace log and from `query-migrate` samples.

A round is what lies between two bitmap syncs; round *k* begins with the sync that made `dirty-sync-count` *k*.
The log gives when each sync began and ended, to the microsecond. QEMU prints there the pages that became dirty
*in the current rate period*, which a sync closes when more than a second has passed since the period began; the
pages of one sync are the differences.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from migsim.lab.trace_events import TraceEvent

__all__ = ["Round", "Sync", "rounds", "syncs"]

_PERIOD_S = 1.0
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class Sync:
    """One bitmap sync: when it began and ended (host clock) and the pages it found newly dirty."""

    start: float
    end: float
    dirty_pages: int


@dataclass(frozen=True)
class Round:
    """What lies between two syncs.

    Attributes
    ----------
    dirty_sync_count : int
        Number of the sync that opens it, from 1.
    start_s, duration_s : float
        Since the migration began; up to the next sync's beginning, or the migration's end.
    sync_s : float
        How long the opening sync took.
    dirty_pages : int
        Pages that sync found newly dirty; 0 for the first, which declares everything dirty.
    transferred_bytes : float
        `ram.transferred` as the round began, between samples by interpolation.
    sent_pages : int or None
        In this round, from the log's pending bytes; exact, None where the log does not say.
    sent_bytes, normal_pages, zero_pages : float
        In this round, by interpolation.
    remaining_bytes : float or None
        Dirty memory after the opening sync, where the log says it.
    """

    dirty_sync_count: int
    start_s: float
    duration_s: float
    sync_s: float
    dirty_pages: int
    transferred_bytes: float
    sent_pages: int | None
    sent_bytes: float
    normal_pages: float
    zero_pages: float
    remaining_bytes: float | None


def syncs(trace: Sequence[TraceEvent]) -> list[Sync]:
    """Return the bitmap syncs of a source's trace log, in order.

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
    counted = 0
    for event in trace:
        if event.name == "migration_bitmap_sync_start":
            start = event.seconds
            period_start = start if period_start is None else period_start
        elif event.name == "migration_bitmap_sync_end" and start is not None and period_start is not None:
            in_period = event.number("dirty_pages") or 0
            # A smaller count than before can only be a new period, whatever the clocks say.
            found.append(
                Sync(start, event.seconds, in_period - counted if in_period >= counted else in_period)
            )
            counted = in_period
            if event.seconds > period_start + _PERIOD_S:
                period_start, counted = event.seconds, 0
            start = None
    return found


def rounds(
    trace: Sequence[TraceEvent], samples: Sequence[dict[str, Any]], began: float, ended: float
) -> list[Round]:
    """Return one Round for each sync.

    Parameters
    ----------
    trace : sequence of TraceEvent
        The source's.
    samples : sequence of dict
        `query-migrate` answers, each with its ``seconds`` on the host clock, in order.
    began, ended : float
        Of the migration, host clock.
    """
    found = syncs(trace)
    edges = [*(sync.start for sync in found), ended]
    curves = {name: _curve(samples, name, began, edges) for name in ("transferred", "normal", "duplicate")}
    remaining = [_remaining(trace, sync, edges[index + 1]) for index, sync in enumerate(found)]
    sent = _sent_pages(found, remaining, samples)
    return [
        Round(
            dirty_sync_count=index + 1,
            start_s=sync.start - began,
            duration_s=edges[index + 1] - sync.start,
            sync_s=sync.end - sync.start,
            dirty_pages=sync.dirty_pages,
            transferred_bytes=curves["transferred"][index],
            sent_pages=sent[index],
            sent_bytes=curves["transferred"][index + 1] - curves["transferred"][index],
            normal_pages=curves["normal"][index + 1] - curves["normal"][index],
            zero_pages=curves["duplicate"][index + 1] - curves["duplicate"][index],
            remaining_bytes=remaining[index],
        )
        for index, sync in enumerate(found)
    ]


def _curve(samples: Sequence[dict[str, Any]], name: str, began: float, edges: Sequence[float]) -> list[float]:
    """Interpolate a cumulative counter at `edges`; the last sample is the counter's final value."""
    times, values = [began], [0.0]
    for sample in samples:
        if name in sample.get("ram", {}):
            times.append(min(float(sample["seconds"]), edges[-1]))
            values.append(float(sample["ram"][name]))
    return [*(_at(times, values, edge) for edge in edges[:-1]), values[-1]]


def _at(times: Sequence[float], values: Sequence[float], moment: float) -> float:
    right = bisect.bisect_right(times, moment)
    if right == 0:
        return values[0]
    if right == len(times) or times[right] == times[right - 1]:
        return values[right - 1] if right == len(times) else values[right]
    weight = (moment - times[right - 1]) / (times[right] - times[right - 1])
    return values[right - 1] + weight * (values[right] - values[right - 1])


def _sent_pages(
    found: Sequence[Sync], remaining: Sequence[float | None], samples: Sequence[dict[str, Any]]
) -> list[int | None]:
    """Return the pages sent in each round: what was pending after a sync, less what was before the next.

    The last sync is not followed by a look at what is pending; what it found and what was left before go out.
    """
    sent: list[int | None] = []
    for index in range(len(found) - 1):
        now, then = remaining[index], remaining[index + 1]
        if index == len(found) - 2 and then is None and now is not None:
            # Between the sync that allowed the switchover and the last one nothing is sent.
            then = now + found[-1].dirty_pages * _PAGE_BYTES
        if now is None or then is None:
            sent.append(None)
        else:
            sent.append(round((now - then) / _PAGE_BYTES) + found[index + 1].dirty_pages)
    final = samples[-1].get("ram", {}) if samples else {}
    total = final.get("normal", 0) + final.get("duplicate", 0)
    known = all(pages is not None for pages in sent)
    return [*sent, round(total - sum(pages or 0 for pages in sent)) if known and found else None]


def _remaining(trace: Sequence[TraceEvent], sync: Sync, until: float) -> float | None:
    """Return what the log gives as pending right after a sync (7.2 and 10.0 word it differently)."""
    for event in trace:
        if event.seconds < sync.end or not event.name.startswith("migrate_pending"):
            continue
        return event.number("size") if event.seconds < until else None
    return None
