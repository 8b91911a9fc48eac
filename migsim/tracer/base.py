"""The interface of a collector, and the callbacks that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["Availability", "Collector", "ProgressCallback", "StopCallback", "never_stop", "no_progress"]

ProgressCallback = Callable[[float, str], None]
"""Called with the seconds recorded so far and a few words."""
StopCallback = Callable[[], bool]
"""Called several times a second; once it returns true, the recording ends soon."""


def no_progress(_done_s: float, _note: str = "") -> None:
    """Ignore the progress."""


def never_stop() -> bool:
    """Return False: the recording goes on to its end."""
    return False


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a collector works for a guest on this host, and why or why not.

    Examples
    --------
    >>> bool(Availability(False, "the guest runs without a dirty ring"))
    False
    """

    ok: bool
    why: str

    def __bool__(self) -> bool:
        return self.ok


class Collector(Protocol):
    """One way to record which pages a running guest writes.

    Attributes
    ----------
    name : str
        The value of ``--method`` and of ``TraceMeta.collector``.
    """

    name: str

    def check(self, session: QmpSession) -> Availability:
        """Say whether this collector can record the guest now; leaves the guest and the host as they were."""
        ...

    def record(
        self,
        session: QmpSession,
        writer: TraceWriter,
        *,
        duration_s: float,
        progress: ProgressCallback,
        stop: StopCallback,
    ) -> None:
        """Record for about `duration_s` seconds.

        Parameters
        ----------
        session : QmpSession
            Connected to the guest's QEMU. All settings are put back at the end.
        writer : TraceWriter
            Gets intervals and windows; the caller closes it.
        duration_s : float
        progress : callable
            ``progress(seconds recorded so far, a few words)``.
        stop : callable
            Called several times a second; once it returns true, the collector ends soon and keeps its intervals.

        Raises
        ------
        MigsimError
            Recording failed; everything added to the writer before is kept.
        """
        ...
