"""QEMU's trace events during a migration: which ones, how they are switched on, and the log read.

Only events that come a few times a second are used, so that tracing does not slow the migration. Names change between
QEMU versions; names that a version does not know are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from migsim.qmp import QmpSession

__all__ = ["TRACE_EVENTS", "TraceEvent", "enable_trace_events", "parse_trace_log"]

TRACE_EVENTS = (
    "migrate_pending",
    "migrate_pending_estimate",
    "migrate_pending_exact",
    "migrate_set_state",
    "migrate_transferred",
    "migration_bitmap_sync_end",
    "migration_bitmap_sync_start",
    "migration_completion_vm_stop",
    "migration_precopy_complete",
    "migration_thread_after_loop",
    "migration_thread_low_pending",
    "migration_thread_setup_complete",
    "migration_throttle",
    "process_incoming_migration_co_end",
    "ram_load_complete",
    "runstate_set",
    "savevm_section_end",
    "savevm_section_start",
    "savevm_state_setup",
    "vm_state_notify",
    "vm_stop_flush_all",
    "vmstate_downtime_checkpoint",
)

_LINE = re.compile(
    r"^(?:\d+@(?P<epoch>\d+\.\d{6}):|(?P<date>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) )(?P<name>\w+) ?(?P<text>.*)$"
)
"""The line of an event: with seconds since 1970 after the process's number, or from 11.1 on with the date."""
_NUMBER = re.compile(r"([A-Za-z_]\w*)[ =](-?\d+)")


@dataclass(frozen=True)
class TraceEvent:
    """One line of QEMU's trace log.

    Attributes
    ----------
    seconds : float
        Host clock, seconds since 1970, in microseconds.
    name : str
        Name of the trace event.
    text : str
        Its arguments as QEMU prints them.
    """

    seconds: float
    name: str
    text: str

    def number(self, key: str) -> int | None:
        """Return the integer that follows `key` in the text, None where there is none.

        Examples
        --------
        >>> TraceEvent(0.0, "migration_bitmap_sync_end", "dirty_pages 12").number("dirty_pages")
        12
        """
        return next((int(found[2]) for found in _NUMBER.finditer(self.text) if found[1] == key), None)


def enable_trace_events(qmp: QmpSession, names: Iterable[str] = TRACE_EVENTS) -> list[str]:
    """Switch on the events of `names` that this QEMU knows, and return their names.

    Raises
    ------
    QmpError
        Where the monitor refuses the command or is closed. A QEMU built without tracing knows no event.
    """
    known = {entry["name"] for entry in qmp.execute("trace-event-get-state", {"name": "*"})}
    present = [name for name in names if name in known]
    for name in present:
        qmp.execute("trace-event-set-state", {"name": name, "enable": True, "ignore-unavailable": True})
    return present


def parse_trace_log(lines: Iterable[str]) -> list[TraceEvent]:
    """Read the trace events of QEMU's log; other lines are skipped.

    Examples
    --------
    >>> parse_trace_log(["5483@1795438455.126804:migration_bitmap_sync_end dirty_pages 7", "warning: x"])
    [TraceEvent(seconds=1795438455.126804, name='migration_bitmap_sync_end', text='dirty_pages 7')]
    >>> parse_trace_log(["2026-11-30T11:28:08.465386Z migration_bitmap_sync_end dirty_pages 7"])
    [TraceEvent(seconds=1796038088.465386, name='migration_bitmap_sync_end', text='dirty_pages 7')]
    """
    found = (_LINE.match(line) for line in lines)
    return [TraceEvent(_seconds(match), match["name"], match["text"].strip()) for match in found if match]


def _seconds(match: re.Match[str]) -> float:
    """Return the time of a line, in seconds since 1970."""
    if match["epoch"]:
        return float(match["epoch"])
    return datetime.fromisoformat(match["date"].removesuffix("Z")).replace(tzinfo=UTC).timestamp()
