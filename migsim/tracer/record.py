"""Recording one trace from start to end: connect, look, collect, pack; whatever fails on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import MigsimError
from migsim.tracer.auto import choose_collector
from migsim.tracer.base import ProgressCallback, StopCallback, never_stop, no_progress
from migsim.tracer.preflight import describe_guest, refuse_while_busy

if TYPE_CHECKING:
    from migsim.trace import TraceWriter

__all__ = ["Recording", "record_trace"]


@dataclass(frozen=True)
class Recording:
    """What became of a recording: `path` exists unless nothing at all was recorded."""

    path: Path
    collector_reason: str
    intervals: int
    windows: int
    complete: bool

    @property
    def contents(self) -> str:
        """What the trace holds, in words."""
        parts = [f"{self.intervals} intervals"] * bool(self.intervals)
        parts += [f"{self.windows} dirty-rate windows"] * bool(self.windows)
        return " and ".join(parts) or "nothing"


def record_trace(
    qmp: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    method: str = "auto",
    duration_s: float = 30.0,
    command: str = "",
    guest: dict[str, Any] | None = None,
    progress: ProgressCallback = no_progress,
    stop: StopCallback = never_stop,
    on_chosen: ProgressCallback = no_progress,
    self_check: Callable[[], dict[str, Any]] | None = None,
) -> Recording:
    """Trace a running guest into a file.

    Parameters
    ----------
    qmp : path
        The guest's QMP socket.
    path : path
        The trace; replaced when it exists, once the new one is whole.
    method : str
        ``auto``, ``dirty-rate``, ``stream`` or ``dirty-ring``.
    duration_s : float
    command : str
        Kept in the trace.
    guest : dict, optional
        What the guest was told to do, where that is known; kept in the trace.
    progress, stop : callable
        See `Collector.record`.
    on_chosen : callable
        Called once with (0, why this collector) before it starts.
    self_check : callable, optional
        Asked at the end how the guest fared meanwhile; kept beside the collector's own check.

    Returns
    -------
    Recording
        ``complete`` is false where `stop` cut it short.

    Raises
    ------
    MigsimError
        Nothing could be recorded; or recording broke off, and then the message says what the trace holds.
    """
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

    with QmpSession(qmp) as session:
        refuse_while_busy(session)
        collector, why = choose_collector(session, method)
        on_chosen(0.0, why)
        writer = TraceWriter(
            path, replace(describe_guest(session, collector.name, command), guest=guest or {})
        )
        try:
            collector.record(session, writer, duration_s=duration_s, progress=progress, stop=stop)
            if self_check is not None and (found := self_check()):
                writer.update_meta(self_check=writer.meta.self_check | found)
        except MigsimError as error:
            raise _broken_off(error, writer) from error
        except BaseException:
            writer.close(complete=False, note="interrupted")
            raise
        stopped = stop()
        writer.close(complete=not stopped, note="interrupted by the user" if stopped else "")
    return Recording(Path(path), why, writer.intervals, writer.windows, not stopped)


def _broken_off(error: MigsimError, writer: TraceWriter) -> MigsimError:
    """Keep what was recorded and say so."""
    anything = bool(writer.intervals or writer.windows)
    held = f"{writer.intervals} intervals and {writer.windows} dirty-rate windows"
    try:
        writer.close(complete=False, note=f"broken off: {error.what}")
    except MigsimError as second:
        where = f"{writer.path}.part keeps what was recorded ({held}); it could not be packed: {second.what}"
    else:
        where = (
            f"{writer.path} keeps what was recorded until then ({held})."
            if anything
            else "Nothing was recorded."
        )
    kept: MigsimError = type(error).__new__(type(error))
    MigsimError.__init__(kept, error.what, error.rule, f"{error.todo} {where}".strip())
    return kept
