"""Steering the source so that its bitmap syncs, and with them the rounds, come at the requested times.

`HeldRounds` (QEMU 8.2 and newer). The source syncs when the pending bytes are below the threshold theta =
avail-switchover-bandwidth x downtime-limit. With a bandwidth of one byte a millisecond, theta is 0 or 1 byte. At 0 the
source never syncs; at 1 it syncs once everything is sent. New settings take effect with the next accounting window of
100 ms. In that time a source with nothing to send would spin through empty sections (and, at 1, through syncs). A
max-bandwidth of almost nothing makes it sleep instead.

`PacedRounds` (older QEMU). A source that has sent everything switches over, so some pages must stay unsent until the
round may end. Each window sends a part of the remaining pages, and the last few pages go one in each window. So the
quota of a window is used up when the sync comes, and no second sync follows at once, which would find almost nothing
dirty. A round of thousands of pages takes about 1.2 s, and one of d pages at most d x 0.1 s.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from migsim.tracer.stream.rounds import SectionLog
from migsim.tracer.stream.source import StreamSource

__all__ = ["HeldRounds", "PacedRounds"]

_WINDOW_S = 0.1  # QEMU's accounting window; the bandwidth quota and theta change when a window begins
_RECORD_BYTES = 4104  # of a normal page
_TRICKLE = 1000  # bytes/s; enough for a few empty sections in a window
_POLL_S = 0.01
# Paced rounds: the share of the remaining pages that is sent in one window. Below a half, so that a poll which comes
# one window late neither lets all pages be sent nor leaves quota for a second sync.
_SHARE_PER_WINDOW = 0.45
_TAIL_PAGES = 4  # the last pages of a round, which are sent one in each window


@dataclass
class HeldRounds:
    """Rounds that end when the collector lets the source sync (QEMU 8.2 and newer).

    Parameters
    ----------
    max_bandwidth : int
        Bytes/s while pages are sent.
    windows_s : sequence of float
        Lengths of the rounds, in turn. A round takes at least 0.2 s: the sync, then sending the pages.
    ended : callable
        Called often; once it returns true, `run` returns.
    """

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]

    def first_parameters(self) -> dict[str, int]:
        """Return the migration parameters for the first round."""
        return {
            "max_bandwidth": self.max_bandwidth,
            "downtime_limit": 0,
            "avail_switchover_bandwidth": 1000,
        }

    def run(self, source: StreamSource, section_log: SectionLog) -> Iterator[None]:
        """Steer the source until `ended`; yields often, so that the caller can write finished rounds."""
        yield from self._until(lambda: bool(section_log.idle_since_s))
        for window_s in itertools.cycle(self.windows_s):
            yield from self._round(source, section_log, window_s)
            if self.ended():
                return

    def _round(self, source: StreamSource, section_log: SectionLog, window_s: float) -> Iterator[None]:
        """Wait for the end of the round, let the source sync once, and wait until it has sent the dirty pages."""
        source.set(max_bandwidth=_TRICKLE)
        yield
        before = source.syncs()
        # The sync comes when the next accounting window begins, on average half a window after the command.
        command_s = before[-1] + window_s - _WINDOW_S / 2
        yield from self._until(lambda: time.time() >= command_s)
        # The first page after the sync uses up the quota, so no second sync comes before theta is 0 again.
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
    """Rounds that cannot end because some pages are left unsent (QEMU before 8.2); parameters as of `HeldRounds`."""

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]

    def first_parameters(self) -> dict[str, int]:
        """Return the migration parameters for the first windows.

        The low bandwidth keeps a small guest from being sent completely before QEMU has measured the bandwidth.
        """
        return {"max_bandwidth": 100_000, "downtime_limit": 1}

    def run(self, source: StreamSource, section_log: SectionLog) -> Iterator[None]:
        """Steer the source until `ended`; yields often, so that the caller can write finished rounds."""
        slow_until = time.time() + 3 * _WINDOW_S
        while time.time() < slow_until and not self.ended():
            time.sleep(_POLL_S)
            yield
        source.set(max_bandwidth=self.max_bandwidth)
        sync_count, windows = len(source.syncs()), itertools.cycle(self.windows_s)
        window_s, bandwidth = 0.0, self.max_bandwidth
        while not self.ended():
            time.sleep(2 * _POLL_S)
            yield
            if self.ended():
                return
            syncs = source.syncs()
            if len(syncs) > max(sync_count, 1):
                sync_count, window_s = len(syncs), next(windows)
            next_bandwidth = self._bandwidth(
                source.remaining_pages(), syncs[-1] + window_s - time.time() if syncs else 0.0
            )
            if next_bandwidth != bandwidth:
                bandwidth = next_bandwidth
                source.set(max_bandwidth=bandwidth)

    def _bandwidth(self, remaining_pages: int, remaining_s: float) -> int:
        """Return the bytes/s for the next window; its quota must never be enough for all remaining pages."""
        remaining_bytes = remaining_pages * _RECORD_BYTES
        if remaining_bytes > 3 * self.max_bandwidth * _WINDOW_S:
            return self.max_bandwidth
        if remaining_pages > max(_TAIL_PAGES, 2 * remaining_s / _WINDOW_S):
            return min(self.max_bandwidth, int(_SHARE_PER_WINDOW * remaining_bytes / _WINDOW_S))
        return _RECORD_BYTES
