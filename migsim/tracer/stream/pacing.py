"""When the source of a recorded migration syncs its bitmap: how rounds get the lengths that are wanted.

`HeldRounds` (QEMU 8.2+). A sync needs pending < theta = avail-switchover-bandwidth x downtime-limit. With one byte
a millisecond, theta is 0 or 1 byte: at 0 no sync happens, at 1 one happens once everything is sent. New settings
count from the next 100 ms window on, in which a source with nothing to send would spin through empty sections
(and, at 1, through syncs); a bandwidth of almost nothing puts it to sleep.

`PacedRounds` (before). A source that has sent everything switches over, so some pages must stay unsent until the
round may end. Each window sends a part of what is left, the last pages go one a window: at the sync no quota is
left, so that no second sync follows that finds next to nothing. A round of thousands of pages takes 1.2 s or so,
and one of d pages d x 0.1 s at most.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from migsim.tracer.stream.rounds import SectionLog
from migsim.tracer.stream.source import StreamSource

__all__ = ["HeldRounds", "PacedRounds"]

_WINDOW_S = 0.1  # QEMU's accounting window; bandwidth quota and theta change with it
_RECORD_BYTES = 4104
_TRICKLE = 1000  # bytes/s: a few empty sections a window
_POLL_S = 0.01
# Paced rounds: how much of what is dirty is sent in one window: below a half, so that one look that comes a window
# late does not send all and leave quota for a second sync; and how few pages go one a window.
_MOST, _TAIL_PAGES = 0.45, 4


@dataclass
class HeldRounds:
    """Rounds that end when they are told to.

    Parameters
    ----------
    max_bandwidth : int
        Bytes/s while pages are sent.
    windows_s : sequence of float
        Lengths of the rounds, in turn. One takes 0.2 s at least: sync, then sending.
    ended : callable
        Asked often; once true, `run` returns.
    """

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]

    def first_parameters(self) -> dict[str, int]:
        """Parameters for the first round."""
        return {
            "max_bandwidth": self.max_bandwidth,
            "downtime_limit": 0,
            "avail_switchover_bandwidth": 1000,
        }

    def run(self, source: StreamSource, section_log: SectionLog) -> Iterator[None]:
        """Steer; yields whenever the caller may look at what has arrived."""
        yield from self._until(lambda: bool(section_log.idle_since_s))
        for window_s in itertools.cycle(self.windows_s):
            yield from self._round(source, section_log, window_s)
            if self.ended():
                return

    def _round(self, source: StreamSource, section_log: SectionLog, window_s: float) -> Iterator[None]:
        """Wait out the window, have the source sync once, and wait until it has sent what it found."""
        source.set(max_bandwidth=_TRICKLE)
        yield
        before = source.syncs()
        # The sync comes at the next accounting window's begin, half a window from now on average.
        go_s = before[-1] + window_s - _WINDOW_S / 2
        yield from self._until(lambda: time.time() >= go_s)
        # The quota is gone with the first page after the sync, so no second sync follows before theta is 0 again.
        source.set(downtime_limit=1)
        yield from self._until(lambda: len(source.syncs()) > len(before) or not section_log.idle_since_s)
        if self.ended():
            return
        source.set(downtime_limit=0, max_bandwidth=self.max_bandwidth)
        yield from self._until(lambda: section_log.idle_since_s > source.syncs()[-1])

    def _until(self, reached: Callable[[], bool]) -> Iterator[None]:
        while not reached() and not self.ended():
            time.sleep(_POLL_S)
            yield


@dataclass
class PacedRounds:
    """Rounds that are kept from ending by pages left unsent; parameters as `HeldRounds`."""

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]

    def first_parameters(self) -> dict[str, int]:
        """Parameters for the first window: too slow to send a small guest before theta is known."""
        return {"max_bandwidth": 100_000, "downtime_limit": 1}

    def run(self, source: StreamSource, section_log: SectionLog) -> Iterator[None]:
        """Steer; yields whenever the caller may look at what has arrived."""
        slow_until = time.time() + 3 * _WINDOW_S
        while time.time() < slow_until and not self.ended():
            time.sleep(_POLL_S)
            yield
        source.set(max_bandwidth=self.max_bandwidth)
        syncs, windows = len(source.syncs()), itertools.cycle(self.windows_s)
        window_s, bandwidth = 0.0, self.max_bandwidth
        while not self.ended():
            time.sleep(2 * _POLL_S)
            yield
            if self.ended():
                return
            now = source.syncs()
            if len(now) > max(syncs, 1):
                syncs, window_s = len(now), next(windows)
            wanted = self._bandwidth(
                source.remaining_pages(), now[-1] + window_s - time.time() if now else 0.0
            )
            if wanted != bandwidth:
                bandwidth = wanted
                source.set(max_bandwidth=bandwidth)

    def _bandwidth(self, pages: int, left_s: float) -> int:
        """Bytes/s for the next window, whose quota must never be enough for all pages."""
        whole = pages * _RECORD_BYTES
        if whole > 3 * self.max_bandwidth * _WINDOW_S:
            return self.max_bandwidth
        if pages > max(_TAIL_PAGES, 2 * left_s / _WINDOW_S):
            return min(self.max_bandwidth, int(_MOST * whole / _WINDOW_S))
        return _RECORD_BYTES
