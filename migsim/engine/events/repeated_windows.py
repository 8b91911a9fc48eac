"""Windows of the rate limit that are alike, simulated in one event.

While pages of one cost lie ahead and nothing else happens, every window sends as many pages in as long a time as the
one before. So one window is measured and repeated. The repetition ends before anything that would change a window:
the last pages of that cost, an estimate near the threshold, a timer, the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from migsim.models.loop.query_migrate import Counters
from migsim.units import PAGE_BYTES

__all__ = ["Mark", "Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """What one window adds to the counters.

    Attributes
    ----------
    seconds : float
    normal, duplicate : float
        Raw and zero pages.
    ram_stream, other_stream : float
        Bytes of the stream.
    """

    seconds: float
    normal: float
    duplicate: float
    ram_stream: float
    other_stream: float

    @property
    def pages(self) -> float:
        """Raw and zero pages together."""
        return self.normal + self.duplicate

    def repeated(self, *, alike_pages: float, spare_bytes: float, spare_s: float = inf) -> int:
        """How many identical windows may be skipped; the last one before a change is always simulated.

        Parameters
        ----------
        alike_pages : float
            Pages ahead that cost what this window's pages do.
        spare_bytes : float
            Dirty memory above the threshold.
        spare_s : float
            Time until something else is due.

        Examples
        --------
        >>> Window(0.1, 3000.0, 0.0, 12.3e6, 100.0).repeated(alike_pages=31_000, spare_bytes=1e9, spare_s=60.0)
        9
        """
        if self.pages <= 0:
            return 0
        windows = min(
            alike_pages / self.pages, spare_bytes / (self.pages * PAGE_BYTES), spare_s / self.seconds
        )
        return max(int(windows) - 1, 0)

    def count(self, counters: Counters, times: int) -> None:
        """Add `times` such windows to the counters."""
        counters.normal += times * self.normal
        counters.duplicate += times * self.duplicate
        counters.remaining_bytes -= times * self.pages * PAGE_BYTES
        counters.ram_stream += times * self.ram_stream
        counters.other_stream += times * self.other_stream


@dataclass(frozen=True, slots=True)
class Mark:
    """The sender and the counters at the beginning of a window.

    Attributes
    ----------
    now : float
    kind : str or None
        The kind of the pages ahead: ``"zero"``, ``"again"``, ``"cold"``, ``"fresh"``; None where they are mixed.
    alike_pages : float
        Pages ahead that are of that kind.
    normal, duplicate, ram_stream, other_stream : float
        The counters.
    """

    now: float
    kind: str | None
    alike_pages: float
    normal: float
    duplicate: float
    ram_stream: float
    other_stream: float

    @classmethod
    def of(cls, counters: Counters, now: float, kind: str | None, alike_pages: float) -> Mark:
        """Note the counters as they are."""
        c = counters
        return cls(now, kind, alike_pages, c.normal, c.duplicate, c.ram_stream, c.other_stream)

    def until(self, later: Mark) -> Window | None:
        """Return the window from here to the next mark; None where its pages are mixed, or another kind follows."""
        window = Window(
            later.now - self.now,
            later.normal - self.normal,
            later.duplicate - self.duplicate,
            later.ram_stream - self.ram_stream,
            later.other_stream - self.other_stream,
        )
        return window if window.pages <= self.alike_pages and later.kind == self.kind else None
