"""Steering the source so that its bitmap syncs, and with them the rounds, come at the requested times.

`HeldRounds`: the source cannot switch over, so it may send everything. It syncs once everything is sent while the
threshold theta is above 0, and never at 0. Settings of theta take effect with the next accounting window of 100 ms;
one of max-bandwidth at once, but it wakes no source that has used up a window's quota.

- Rounds from 0.2 s on: theta is above 0 for one window, whose quota the first page after the sync uses up. In the next
  one, at theta 0, the pages are sent. A max-bandwidth of almost nothing keeps a source that has nothing to send from
  spinning through empty sections.
- Shorter rounds: theta stays above 0, so the next sync comes as soon as a round is sent. A round is made longer by
  reading its last pages late: the socket's buffer fills, and the source waits. What follows the first pages of a round
  in other chunks of 1 GiB is logged again only when it is sent; so the wait comes at the round's end. Rounds of so few
  pages that the buffer takes them all would follow each other without end: they are left out.

theta is avail-switchover-bandwidth x downtime-limit from QEMU 8.2 on, 0 or 1 byte. Before, it is the bandwidth of the
window before x downtime-limit: while short rounds are sent, what is sent in a millisecond. So much of a round is left
for the next one.

`PacedRounds` (where nothing keeps the source from switching over). A source that has sent everything switches over, so
some pages must stay unsent until the round may end. Each window sends a part of the remaining pages, and the last few
pages go one in each window. So the quota of a window is used up when the sync comes, and no second sync follows at
once, which would find almost nothing dirty. A round of thousands of pages takes about 1.2 s, and one of d pages at most
d x 0.1 s.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.source import RoundProgress, StreamSource

__all__ = ["SHORTEST_HELD_S", "HeldRounds", "PacedRounds", "default_windows_s"]

_WINDOW_S = 0.1  # QEMU's accounting window; the bandwidth quota and theta change when a window begins
_RECORD_BYTES = 4104  # of a normal page
_TRICKLE = 1000  # bytes/s; enough for a few empty sections in a window
_SLOW = 100_000  # bytes/s; until it is known that the source is held
_POLL_S = 0.01
_SHORT_POLL_S = 0.001
SHORTEST_HELD_S = 2 * _WINDOW_S
"""The length of a round from which on theta is set for each sync."""
_READ_LATE = 100  # pages: what QEMU's, the socket's and one read's buffers take, and some more
_SYNCS_PER_ROUND = 5  # at most, on average over the short rounds that follow each other
_SETTLES_S = 0.25  # until then the round's end is known
_WAITS_S = 1.0  # for a source that syncs as soon as it can
# Paced rounds: the share of the remaining pages that is sent in one window. Below a half, so that a poll which comes
# one window late neither lets all pages be sent nor leaves quota for a second sync.
_SHARE_PER_WINDOW = 0.45
_TAIL_PAGES = 4  # the last pages of a round, which are sent one in each window

_SHORT_S = (0.01, 0.02, 0.05, 0.1)
_LONG_S = (0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_AGAIN_S = 8.0
_SHORT_SHARE, _LONGEST_SHARE = 0.2, 0.25  # of the time in short rounds; of the duration in one round


def default_windows_s(duration_s: float) -> tuple[float, ...]:
    """Return the lengths of the rounds of a recording, in turn: from 10 ms on, up to a quarter of its duration.

    Short rounds are many; they take a fifth of the time, and come before each round of 8 s and more again.

    Examples
    --------
    >>> windows_s = default_windows_s(30)
    >>> windows_s.count(0.01), windows_s[-3:], default_windows_s(300)[-1]
    (50, (1.0, 2.0, 4.0), 30.0)
    """
    long = [length for length in _LONG_S if length <= max(_LONGEST_SHARE * duration_s, _LONG_S[0])]
    each_s = _SHORT_SHARE / (1 - _SHORT_SHARE) * min(sum(long), _AGAIN_S) / len(_SHORT_S)
    short = [length for length in _SHORT_S for _ in range(max(2, round(each_s / length)))]
    ladder = list(short)
    for length in long:
        ladder += [*short, length] if length >= _AGAIN_S else [length]
    return tuple(ladder)


@dataclass
class HeldRounds:
    """Rounds that end when the collector lets the source sync.

    Parameters
    ----------
    max_bandwidth : int
        Bytes/s while pages are sent.
    windows_s : sequence of float
        Lengths of the rounds, in turn. A round takes at least the sync, then sending the pages.
    ended : callable
        Called often; once it returns true, `run` returns.
    by_bandwidth : bool
        Whether theta follows the bandwidth (QEMU before 8.2).
    """

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]
    by_bandwidth: bool = False
    _uncounted: int = 0

    def first_parameters(self) -> dict[str, int]:
        """Return the migration parameters for the first round."""
        if self.by_bandwidth:
            return {"max_bandwidth": _SLOW, "downtime_limit": 0}
        return {
            "max_bandwidth": self.max_bandwidth,
            "downtime_limit": 0,
            "avail_switchover_bandwidth": 1000,
        }

    def run(self, source: StreamSource, reader: StreamReader) -> Iterator[None]:
        """Steer the source until `ended`; yields often, so that the caller can write finished rounds."""
        log = reader.section_log
        if self.by_bandwidth:
            source.set(max_bandwidth=self.max_bandwidth)
        yield from self._until(lambda: bool(log.idle_since_s))
        if self.ended():
            return
        # What QEMU counts and what has arrived is the same now; begins of the count may differ.
        self._uncounted = log.pages_received - source.progress().pages_at_end
        log.ends[1] = log.pages_received
        turns = [
            (short, list(lengths))
            for short, lengths in itertools.groupby(self.windows_s, lambda length: length < SHORTEST_HELD_S)
        ]
        for short, lengths in itertools.cycle(turns):
            for turn in [lengths] if short else [[length] for length in lengths]:
                yield from (self._short_rounds if short else self._round)(source, reader, turn)
                yield from self._send_all(source, reader)
                if self.ended():
                    return

    def _round(
        self, source: StreamSource, reader: StreamReader, lengths_s: Sequence[float]
    ) -> Iterator[None]:
        """Wait for the end of the round, and let the source sync once."""
        source.set(max_bandwidth=_TRICKLE)
        yield
        before = len(source.syncs())
        # The sync comes when the next accounting window begins, on average half a window after the command.
        command_s = source.syncs()[-1] + lengths_s[0] - _WINDOW_S / 2
        yield from self._until(lambda: time.time() >= command_s)
        # The first page after the sync uses up the quota, so no second sync comes before theta is 0 again.
        # By the bandwidth of a trickle, theta is a byte for each millisecond of the limit.
        source.set(downtime_limit=20 if self.by_bandwidth else 1)
        yield from self._until(lambda: len(source.syncs()) > before)

    def _send_all(self, source: StreamSource, reader: StreamReader) -> Iterator[None]:
        """Wait until the source has sent the dirty pages, and does not sync."""
        if self.ended():
            return
        source.set(downtime_limit=0, max_bandwidth=self.max_bandwidth)
        while not self.ended():
            progress = source.progress()
            if (
                not progress.pages_left
                and self._note_end(progress, reader) <= reader.section_log.pages_received
            ):
                return
            time.sleep(_POLL_S)
            yield

    def _note_end(self, progress: RoundProgress, reader: StreamReader) -> int:
        """Keep where the round under way ends in the stream; return it."""
        pages = progress.pages_at_end + self._uncounted
        reader.section_log.ends[progress.number] = pages
        return pages

    def _short_rounds(
        self, source: StreamSource, reader: StreamReader, lengths_s: Sequence[float]
    ) -> Iterator[None]:
        """Let the source sync as soon as it has sent everything, and read the end of each round late.

        The longest come first: a window half as long holds at least half as many pages. Rounds that could be too few
        to fill the buffers are left out, because nothing keeps the source from one sync after the other then.
        """
        yield from self._round(source, reader, [0.0])
        if (
            not self.ended() and _last_window_s(source) > 2 * SHORTEST_HELD_S
        ):  # too long to tell of shorter ones
            yield from self._send_all(source, reader)
            yield from self._round(source, reader, [0.0])
        if self.ended():
            return
        pages_per_s = source.progress().pages_left / _last_window_s(source)
        if pages_per_s * max(lengths_s) < _READ_LATE:
            return
        most = len(source.syncs()) + _SYNCS_PER_ROUND * len(lengths_s)
        source.set(downtime_limit=1, max_bandwidth=self.max_bandwidth)
        for length_s in sorted(lengths_s, reverse=True):
            syncs = len(source.syncs())
            until_s = source.syncs()[-1] + length_s
            progress = source.progress()
            pages_per_s = (pages_per_s + progress.pages_left / _last_window_s(source)) / 2
            if pages_per_s * length_s < _READ_LATE:
                break
            end = self._note_end(progress, reader)
            # The next round's first pages are read when it is known how many they are.
            reader.stop_at((end - _READ_LATE, until_s), (end + 1, time.time() + length_s + _SETTLES_S))
            give_up_s = time.monotonic() + length_s + _WAITS_S
            while len(source.syncs()) == syncs and time.monotonic() < give_up_s and not self.ended():
                time.sleep(_SHORT_POLL_S)
            if len(source.syncs()) == syncs or len(source.syncs()) > most or self.ended():
                break
        # Nothing more is sent in this window; in the next one theta is 0.
        source.set(downtime_limit=0, max_bandwidth=_TRICKLE)
        reader.stop_at()
        quiet_s = time.time() + 1.2 * _WINDOW_S
        yield from self._until(lambda: time.time() >= quiet_s)

    def _until(self, reached: Callable[[], bool]) -> Iterator[None]:
        while not reached() and not self.ended():
            time.sleep(_POLL_S)
            yield


def _last_window_s(source: StreamSource) -> float:
    """Return the time between the last two syncs."""
    syncs = source.syncs()
    return max(syncs[-1] - syncs[-2], _SHORT_POLL_S) if len(syncs) > 1 else _WAITS_S


@dataclass
class PacedRounds:
    """Rounds that cannot end because some pages are left unsent; parameters as of `HeldRounds`."""

    max_bandwidth: int
    windows_s: Sequence[float]
    ended: Callable[[], bool]

    def first_parameters(self) -> dict[str, int]:
        """Return the migration parameters for the first windows.

        The low bandwidth keeps a small guest from being sent completely before QEMU has measured the bandwidth.
        """
        return {"max_bandwidth": _SLOW, "downtime_limit": 1}

    def run(self, source: StreamSource, reader: StreamReader) -> Iterator[None]:
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
                source.progress().pages_left, syncs[-1] + window_s - time.time() if syncs else 0.0
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
