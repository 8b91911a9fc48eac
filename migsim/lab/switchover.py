"""The switchover, from QEMU's trace log and events: the downtime in parts, and the blackout.

=======  ==============================================================================================
part     from, to (source's trace log)
=======  ==============================================================================================
stop     downtime begins; the machine is stopped and its disks are flushed
sync     the last bitmap sync
flush    its end; the last dirty page is written
device   the last dirty page is written; the last device section is written
rest     the remaining `downtime`: registers fetched, images handed over, waiting for the destination
=======  ==============================================================================================

The log's resolution is a microsecond, `downtime` is in whole milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from migsim.lab.trace_events import TraceEvent
from migsim.qmp import QmpEvent

__all__ = ["blackout_ms", "downtime_parts_ms"]


def downtime_parts_ms(trace: Sequence[TraceEvent], downtime_ms: float) -> dict[str, float]:
    """Split `downtime_ms` into the parts above; {} where the log does not show a switchover."""
    start = _last(trace, _is_start)
    stopped = _first(trace, lambda e: e.name == "migration_completion_vm_stop", start)
    if start is None or stopped is None:
        return {}
    sync_start = _last(trace, lambda e: e.name == "migration_bitmap_sync_start")
    sync_end = _last(trace, lambda e: e.name == "migration_bitmap_sync_end")
    flushed = _last(trace, lambda e: e.name == "savevm_section_end" and e.text.startswith("ram,"))
    saved = _last(trace, lambda e: e.name == "savevm_section_end")
    parts = {"stop": _span_ms(start, stopped)}
    if sync_start is not None and sync_start >= stopped:
        parts |= {
            "sync": _span_ms(sync_start, sync_end),
            "flush": _span_ms(sync_end, flushed),
            "device": _span_ms(flushed, saved),
        }
    known = sum(parts.values())
    # `downtime` is cut to whole milliseconds, so the parts can be longer by less than one.
    shrink = min(1.0, downtime_ms / known) if known else 1.0
    parts = {name: round(value * shrink, 3) for name, value in parts.items()}
    return parts | {"rest": round(max(downtime_ms - sum(parts.values()), 0.0), 3)}


def blackout_ms(source: Sequence[QmpEvent], destination: Sequence[QmpEvent]) -> float:
    """Return the time from STOP on the source to RESUME on the destination; NaN where an event is missing.

    Both QEMUs have to run on one machine: the events carry the host's clock.
    """
    stops = [event.seconds for event in source if event.name == "STOP"]
    resumes = [event.seconds for event in destination if event.name == "RESUME"]
    if not stops or not resumes:
        return math.nan
    return round((resumes[0] - stops[-1]) * 1000, 3)


def _is_start(event: TraceEvent) -> bool:
    # 10.0 traces the start itself. Older releases change to finish-migrate right after they read the clock.
    if event.name == "vmstate_downtime_checkpoint":
        return event.text == "src-downtime-start"
    return event.name == "runstate_set" and event.text.endswith("(finish-migrate)")


def _last(trace: Sequence[TraceEvent], wanted: Callable[[TraceEvent], bool]) -> float | None:
    return next((event.seconds for event in reversed(trace) if wanted(event)), None)


def _first(
    trace: Sequence[TraceEvent], wanted: Callable[[TraceEvent], bool], since: float | None
) -> float | None:
    if since is None:
        return None
    return next((event.seconds for event in trace if event.seconds >= since and wanted(event)), None)


def _span_ms(start: float | None, end: float | None) -> float:
    return max((end - start) * 1000, 0.0) if start is not None and end is not None else 0.0
