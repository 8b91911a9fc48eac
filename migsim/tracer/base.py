"""What every collector offers, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["Availability", "Collector", "ProgressCallback", "StopCallback", "never_stop", "no_progress"]

ProgressCallback = Callable[[float, str], None]
StopCallback = Callable[[], bool]


def no_progress(_done_s: float, _note: str = "") -> None:
    """Show no progress."""


def never_stop() -> bool:
    """Record to the end."""
    return False


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a collector can work on this guest from this host, and why (not).

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
    """One way to see what a running guest writes to.

    Attributes
    ----------
    name : str
        As in ``--method`` and ``TraceMeta.collector``.
    """

    name: str

    def check(self, session: QmpSession) -> Availability:
        """Say whether this collector can record now; changes nothing that lasts."""
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
            Connected; the guest stays as it was found.
        writer : TraceWriter
            Gets intervals and windows; it is closed by the caller.
        duration_s : float
        progress : callable
            ``progress(seconds done, a few words)``.
        stop : callable
            Asked several times a second; once true, the collector ends soon, with what it has.

        Raises
        ------
        MigsimError
            Whatever goes wrong; everything added to the writer before is kept.
        """
        ...
