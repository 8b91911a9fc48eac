"""Recording one trace from start to end: connecting, choosing a collector, collecting, packing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import MigsimError, TraceError, UsageError
from migsim.trace.journal import part_path
from migsim.tracer.auto import choose_collector
from migsim.tracer.base import ProgressCallback, StopCallback, never_stop, no_progress
from migsim.tracer.guest_settings import GuestSettings, put_back_anew, put_back_left_over
from migsim.tracer.preflight import describe_guest, refuse_while_busy
from migsim.units import read_positive_s

if TYPE_CHECKING:
    from migsim.trace import TraceWriter
    from migsim.tracer.base import Collector

__all__ = ["Recording", "record_trace"]


@dataclass(frozen=True)
class Recording:
    """The outcome of a recording.

    Attributes
    ----------
    path : Path
        The trace; no file exists there if nothing was recorded.
    collector_reason : str
        The collector's name, and why it was chosen.
    intervals, windows : int
        How many of each were recorded.
    complete : bool
        False where the user ended the recording early.
    """

    path: Path
    collector_reason: str
    intervals: int
    windows: int
    complete: bool

    @property
    def contents(self) -> str:
        """Text with the number of intervals and of windows in the trace."""
        parts = [f"{self.intervals} intervals"] * bool(self.intervals)
        parts += [f"{self.windows} dirty-rate windows"] * bool(self.windows)
        return " and ".join(parts) or "nothing"


def record_trace(
    qmp: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    method: str = "auto",
    duration_s: float = 30.0,
    windows_s: Sequence[float] | None = None,
    command: str = "",
    guest: dict[str, Any] | None = None,
    progress: ProgressCallback = no_progress,
    stop: StopCallback = never_stop,
    on_chosen: ProgressCallback = no_progress,
    on_put_back: Callable[[str], None] | None = None,
    self_check: Callable[[], dict[str, Any]] | None = None,
) -> Recording:
    """Trace a running guest into a file.

    Parameters
    ----------
    qmp : path
        The QMP socket of the guest's QEMU.
    path : path
        The trace. An existing file is replaced once the new one is whole.
    method : str
        ``auto``, ``dirty-rate``, ``stream`` or ``dirty-ring``.
    duration_s : float
    windows_s : sequence of float, optional
        Lengths of the rounds of ``stream``, in turn, instead of its own; other methods take none.
    command : str
        The command that is recorded in the trace's meta data.
    guest : dict, optional
        The guest's declared workload, where it is known; kept in the trace's meta data.
    progress, stop : callable
        See `Collector.record`.
    on_chosen : callable
        Called once, before the collector starts, with 0 and the reason for the choice.
    on_put_back : callable, optional
        Called with a line for each killed recording beside `path` whose changes to this guest were put back.
    self_check : callable, optional
        Called at the end; its findings about the guest are kept beside those of the collector.

    Returns
    -------
    Recording
        ``complete`` is false where `stop` ended the recording early.

    Raises
    ------
    ParameterError, UnitError
        A duration or length that is not above 0 and finite.
    UsageError
        Lengths of rounds for another method.
    MigsimError
        Nothing could be recorded, or the recording broke off; the message then says what the trace holds.
    """
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

    duration_s = read_positive_s("duration", duration_s)
    with QmpSession(qmp) as session:
        for line in put_back_left_over(session, Path(path)):
            if on_put_back is not None:
                on_put_back(line)
        refuse_while_busy(session)
        collector, reason = choose_collector(session, method)
        if windows_s is not None:
            collector = _with_windows(collector, windows_s)
        on_chosen(0.0, reason)
        writer = TraceWriter(
            path, replace(describe_guest(session, collector.name, command), guest=guest or {})
        )
        try:
            collector.record(session, writer, duration_s=duration_s, progress=progress, stop=stop)
            if self_check is not None and (findings := self_check()):
                writer.update_meta(self_check=writer.meta.self_check | findings)
        except MigsimError as error:
            left = _settings_left(writer)
            closed = _close_after_error(error, writer)
            session.close()  # a monitor serves one client at a time
            raise _with_todo(closed, put_back_anew(left, qmp, writer.path)) from error
        except BaseException:
            left = _settings_left(writer)
            writer.close(complete=False, note="interrupted")
            session.close()
            put_back_anew(left, qmp, writer.path)
            raise
        stopped = stop()
        writer.close(complete=not stopped, note="interrupted by the user" if stopped else "")
    return Recording(Path(path), reason, writer.intervals, writer.windows, not stopped)


def _with_windows(collector: Collector, windows_s: Sequence[float]) -> Collector:
    """Return the same collector for rounds of these lengths."""
    from migsim.tracer.stream.collector import StreamCollector

    if isinstance(collector, StreamCollector):
        return StreamCollector(windows_s=windows_s)
    raise UsageError(
        f"Lengths of windows are given, and this guest is traced by {collector.name}.",
        "Only the method stream takes them: they are the lengths of its rounds.",
        "Leave them out, or use --method stream.",
    )


def _settings_left(writer: TraceWriter) -> GuestSettings | None:
    """Return the guest's own settings where the collector could not put them back."""
    with contextlib.suppress(TraceError):
        return GuestSettings.load(part_path(writer.path))
    return None


def _close_after_error(error: MigsimError, writer: TraceWriter) -> MigsimError:
    """Close the trace as incomplete; return the error with a sentence on what the trace holds."""
    anything = bool(writer.intervals or writer.windows)
    contents = f"{writer.intervals} intervals and {writer.windows} dirty-rate windows"
    try:
        writer.close(complete=False, note=f"broken off: {error.what}")
    except MigsimError as second:
        rest = (
            f"{writer.path}.part keeps what was recorded ({contents}); it could not be packed: {second.what}"
        )
    else:
        rest = (
            f"{writer.path} keeps what was recorded until then ({contents})."
            if anything
            else "Nothing was recorded."
        )
    return _with_todo(error, rest)


def _with_todo(error: MigsimError, more: str) -> MigsimError:
    """Return an error with a sentence more on what to do."""
    # a subclass may have an __init__ of its own, with other parameters
    extended: MigsimError = type(error).__new__(type(error))
    MigsimError.__init__(extended, error.what, error.rule, f"{error.todo} {more}".strip())
    return extended
