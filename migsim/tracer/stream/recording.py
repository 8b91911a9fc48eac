"""A stream recording over one or several migrations: writes their rounds to the trace, and decides when to end."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from migsim.errors import QmpError
from migsim.tracer.base import ProgressCallback, StopCallback
from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.rounds import Round, SectionLog
from migsim.tracer.stream.source import SelfCheck, StreamSource

if TYPE_CHECKING:
    from migsim.trace import RamBlock, TraceWriter
    from migsim.trace.data_map import DataMap

__all__ = ["StreamRecording"]

_SHORTEST_S = (
    0.005  # rounds are joined until they are this long: a sync takes too long to tell shorter ones apart
)
_POLL_S = 0.05
_ROUNDS_AT_ONCE, _EVERY_ROUND = 2, 1 << 30  # each takes some ms to write, in which the source is not steered
_LONGEST_PAUSE_S = 8.0
_LONGEST_STILL_S = 60.0


class StreamRecording:
    """One recording, which may take several migrations.

    Parameters
    ----------
    writer : TraceWriter
    duration_s : float
        Length of the recording, from the end of the first migration's first round on.
    progress, stop : callable
        See `Collector.record`.

    Attributes
    ----------
    check : SelfCheck
        The self-check of all migrations so far together.
    switchovers : int
        Number of migrations that were cancelled because the source began to switch over.
    why_not_held : str
        Why the source is not kept from switching over; "" where it is.
    """

    def __init__(
        self, writer: TraceWriter, duration_s: float, progress: ProgressCallback, stop: StopCallback
    ) -> None:
        self.writer = writer
        self.duration_s = duration_s
        self.progress = progress
        self.stop = stop
        self.check = SelfCheck(running=True, restored=True)
        self.switchovers = 0
        self.why_not_held = ""
        self._uncertain_rounds = 0
        self._rounds = 0
        self._began_s = 0.0  # time 0 of the trace
        self._until_s = math.inf
        self._pause_s = 0.0
        self._ram_known = False
        # State of the current migration.
        self._source: StreamSource | None = None
        self._reader: StreamReader | None = None
        self._switching = False
        self._progress = -1, 0.0  # pages and syncs of the first round so far, and when they last grew
        self._next_round = 1  # 1 for the first round, which begins with the setup's sync
        self._joined: list[Round] = []  # rounds that are not yet written because together they are too short
        self._joined_since_s = 0.0
        self._intervals_before = 0

    # ---- one migration ----

    def begin(self, source: StreamSource, reader: StreamReader) -> None:
        """Start with a new migration."""
        self._source, self._reader = source, reader
        self._began_s = self._began_s or source.began_s
        self._switching, self._next_round, self._joined = False, 1, []
        self._progress = -1, time.monotonic()
        self._intervals_before = self.writer.intervals

    def is_over(self) -> bool:
        """Say whether the migration should end: time is up, the stream has ended, or a switchover has begun.

        Raises
        ------
        QmpError
            The migration does not begin, or hangs in its first round.
        """
        if self._source is None or self._reader is None:
            return False
        self._switching = self._switching or self._source.switching()
        syncs = self._source.syncs()
        if len(syncs) < 2:
            self._check_progress(len(syncs) + self._reader.section_log.pages_received)
        else:
            self._until_s = min(self._until_s, syncs[1] + self.duration_s)
        return self._switching or self._reader.ended.is_set() or self._time_is_up()

    def _check_progress(self, count: int) -> None:
        """Raise an error where the first round gets no further."""
        now = time.monotonic()
        if count != self._progress[0]:
            self._progress = count, now
        if now - self._progress[1] > _LONGEST_STILL_S:
            raise QmpError(
                f"The migration that is recorded has not got further for {_LONGEST_STILL_S:.0f} s.",
                "QEMU sends all of the guest's RAM, and announces each round, as soon as it migrates.",
                "Check whether QEMU hangs, and that the socket belongs to its QMP monitor.",
            )

    def write_finished_rounds(self, *, ended: bool = False, at_most: int = _ROUNDS_AT_ONCE) -> None:
        """Write rounds that have completely arrived; once the stream has `ended`, all rounds closed by a sync."""
        source, reader = self._source, self._reader
        if source is None or reader is None:
            return
        for _ in range(at_most):
            if reader.section_log.ends:
                written = self._write_held(source, reader)
            else:
                written = self._write_next(source, reader, ended)
            if not written:
                break
        done_s = min(max(0.0, self.duration_s - (self._until_s - time.time())), self.duration_s)
        first = f"first round: {reader.section_log.pages_received} pages"
        self.progress(done_s, f"{self._rounds} rounds" if self._next_round > 1 else first)

    def _write_next(self, source: StreamSource, reader: StreamReader, ended: bool) -> bool:
        """Write the next round, cut by its syncs' times; return whether it had arrived."""
        section_log, syncs, number = reader.section_log, source.syncs(), self._next_round
        if len(syncs) <= number or not (ended or section_log.is_complete_until(syncs[number])):
            return False
        following_s = syncs[number + 1] if len(syncs) > number + 1 else math.inf
        begin_s, end_s = syncs[number - 1 : number + 1]
        sent = section_log.cut_round(begin_s, end_s, first=number == 1, next_s=following_s)
        self._write(sent, syncs[max(number - 2, 0)], section_log)
        self._next_round += 1
        return True

    def _write_held(self, source: StreamSource, reader: StreamReader) -> bool:
        """Write the next round whose end is known, with those before it; return whether they had arrived."""
        section_log, syncs, number = reader.section_log, source.syncs(), self._next_round
        last = min((known for known in section_log.ends if known >= number), default=len(syncs))
        if len(syncs) <= last or section_log.pages_received < section_log.ends[last]:
            return False
        sent = section_log.cut_at(section_log.ends[last], syncs[last - 1], syncs[last])
        self._write(sent, syncs[max(number - 2, 0)], section_log)
        self._next_round = last + 1
        return True

    def finish(self) -> None:
        """Write the last rounds of the migration; raise an error if it ended because something broke."""
        source, reader = self._source, self._reader
        if source is None or reader is None:
            return
        if self._switching:
            # All pages of the last round are on their way. Cancel first: the guest is stopped until then.
            source.cancel()
            reader.close()
        self.write_finished_rounds(ended=self._switching and reader.ended.is_set(), at_most=_EVERY_ROUND)
        if reader.error is not None:
            raise reader.error
        if reader.ended.is_set() and not self._switching:
            raise source.failure()

    # ---- from one migration to the next ----

    def add_check(self, check: SelfCheck) -> None:
        """Add the self-check of a migration that has ended."""
        self.switchovers += self._switching or check.stopped_ms > 0
        self.check = SelfCheck(
            running=check.running,
            stopped_ms=self.check.stopped_ms + check.stopped_ms,
            restored=self.check.restored and check.restored,
        )

    def should_migrate_again(self) -> bool:
        """Say whether to start another migration: the last one began to switch over, and time is left.

        Every switchover stops the guest for a short time. So the pause before the next migration, which this method
        waits for, grows while the guest stays idle.
        """
        if not self._switching or not self.check.running:
            return False
        intervals_added = self.writer.intervals > self._intervals_before
        self._pause_s = 0.0 if intervals_added else min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
        pause_until = time.monotonic() + self._pause_s
        while time.monotonic() < pause_until and not self._time_is_up():
            time.sleep(_POLL_S)
        return not self._time_is_up()

    def write_notes(self) -> None:
        """Write the self-check, and a note about switchovers and uncertain rounds, to the trace."""
        notes = [self.writer.meta.note] if self.writer.meta.note else []
        if self.switchovers:
            times = "once" if self.switchovers == 1 else f"{self.switchovers} times"
            notes.append(
                f"{times} a sync found almost nothing dirty (the guest was idle), so that QEMU began to switch over; "
                f"the migration was cancelled, and the guest stood still for {self.check.stopped_ms:.1f} ms in all"
            )
        if self.why_not_held:
            notes.append(f"rounds take a second and more: {self.why_not_held}")
        if self._uncertain_rounds:
            notes.append(f"{self._uncertain_rounds} rounds have uncertain ends")
        self.writer.update_meta(self_check=self.check.as_dict(), note="; ".join(notes))

    def _time_is_up(self) -> bool:
        """Say whether the recording should end because of its duration or of the user."""
        return time.time() >= self._until_s or self.stop()

    def _write(self, sent: Round, written_since_s: float, section_log: SectionLog) -> None:
        """Write round `_next_round`, or some from it on: the first one as meta data, others as an interval.

        A round sends the pages that were written between the two syncs before it, which is the interval written:
        from `written_since_s` on.
        """
        self._rounds += 1
        if self._next_round == 1:
            if not self._ram_known:
                self._ram_known = True
                self.writer.update_meta(
                    ram_blocks=_trace_blocks(section_log),
                    zero_pages=sent.zero,
                    zero_pages_source="stream, first round",
                    data_map=_data_map(sent, section_log),
                )
            return
        self._uncertain_rounds += bool(sent.repeated)
        self._joined_since_s = written_since_s if not self._joined else self._joined_since_s
        self._joined.append(sent)
        start_s = self._joined_since_s
        if sent.begin_s - start_s < _SHORTEST_S:
            return
        if section_log.sampler is not None:
            statistics = section_log.sampler.take_statistics()
            if len(statistics.page):
                self.writer.add_content(
                    statistics.page,
                    statistics.changed_bytes,
                    statistics.runs,
                    statistics.xbzrle_bytes,
                    between_s=statistics.between_s,
                    after_sync_s=statistics.sent_s - sent.begin_s,
                )
        zero = sum(part.zero for part in self._joined)
        self.writer.add_interval(
            start_s - self._began_s,
            sent.begin_s - self._began_s,
            sent_pages=sum(part.normal for part in self._joined) + zero,
            zero_pages=zero,
            pages=np.concatenate([part.pages for part in self._joined]),
        )
        self._joined = []


def _data_map(first: Round, section_log: SectionLog) -> DataMap | None:
    """Return where the first round found data; None where it was cut elsewhere than it was counted."""
    found = section_log.data_map.map() if section_log.data_map else None
    return found if found and sum(found.data_pages) == section_log.total_pages - first.zero else None


def _trace_blocks(section_log: SectionLog) -> tuple[RamBlock, ...]:
    from migsim.trace import RamBlock

    return tuple(RamBlock(block.name, block.first_page, block.pages) for block in section_log.blocks)
