"""Writes the rounds of one or several recorded migrations into a trace, and knows when recording is over."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from migsim.tracer.base import ProgressCallback, StopCallback
from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.rounds import Round, SectionLog
from migsim.tracer.stream.source import SelfCheck, StreamSource

if TYPE_CHECKING:
    from migsim.trace import RamBlock, TraceWriter

__all__ = ["StreamRecording"]

_SHORTEST_S = 0.005  # rounds are joined until they span this: what a sync takes would blur shorter ones
_POLL_S = 0.05
_LONGEST_PAUSE_S = 8.0


class StreamRecording:
    """What is recorded, through all the migrations that it takes.

    Parameters
    ----------
    writer : TraceWriter
    duration_s : float
        Counted from the end of the first migration's first round, by the clock.
    progress, stop : callable
        See `Collector.record`.

    Attributes
    ----------
    check : SelfCheck
        Over all migrations so far.
    switchovers : int
        Migrations that were cancelled because the source began to switch over.
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
        self._uncertain = 0
        self._rounds = 0
        self._began_s = 0.0  # the trace's time 0
        self._until_s = math.inf
        self._pause_s = 0.0
        self._ram_known = False
        # Of the migration under way.
        self._source: StreamSource | None = None
        self._reader: StreamReader | None = None
        self._switching = False
        self._cut = 1  # syncs up to which rounds have been taken out of the section_log
        self._joined: list[Round] = []
        self._intervals_before = 0

    # ---- one migration ----

    def begin(self, source: StreamSource, reader: StreamReader) -> None:
        """Note that a migration has begun."""
        self._source, self._reader = source, reader
        self._began_s = self._began_s or source.began_s
        self._switching, self._cut, self._joined = False, 1, []
        self._intervals_before = self.writer.intervals

    def is_over(self) -> bool:
        """Whether the migration should end: stopped, time is up, the stream ended, or a switchover began."""
        if self._source is None or self._reader is None:
            return False
        self._switching = self._switching or self._source.switching()
        syncs = self._source.syncs()
        if len(syncs) > 1:
            self._until_s = min(self._until_s, syncs[1] + self.duration_s)
        return self._switching or self._reader.ended.is_set() or self._no_more()

    def write_finished_rounds(self, *, ended: bool = False) -> None:
        """Take finished rounds out of the section_log and write them; once the stream `ended`, all that synced."""
        source, reader = self._source, self._reader
        if source is None or reader is None:
            return
        section_log, syncs = reader.section_log, source.syncs()
        while len(syncs) > self._cut and (ended or section_log.is_complete_until(syncs[self._cut])):
            next_s = syncs[self._cut + 1] if len(syncs) > self._cut + 1 else math.inf
            begin_s, end_s = syncs[self._cut - 1 : self._cut + 1]
            sent = section_log.cut_round(begin_s, end_s, first=self._cut == 1, next_s=next_s)
            self._write(sent, syncs, section_log)
            self._cut += 1
        done_s = min(max(0.0, self.duration_s - (self._until_s - time.time())), self.duration_s)
        first = f"first round: {section_log.pages_received} pages"
        self.progress(done_s, f"{self._rounds} rounds" if self._cut > 1 else first)

    def finish(self) -> None:
        """Take what is left; raise where the migration ended because something broke."""
        source, reader = self._source, self._reader
        if source is None or reader is None:
            return
        if self._switching:
            # All that the last round sent is on its way, and the guest stands still until this is done.
            source.cancel()
            reader.close()
        self.write_finished_rounds(ended=self._switching and reader.ended.is_set())
        if reader.error is not None:
            raise reader.error
        if reader.ended.is_set() and not self._switching:
            raise source.failure()

    # ---- from one migration to the next ----

    def add_check(self, check: SelfCheck) -> None:
        """Add what a migration's end found of the guest."""
        self.switchovers += self._switching or check.stopped_ms > 0
        self.check = SelfCheck(
            running=check.running,
            stopped_ms=self.check.stopped_ms + check.stopped_ms,
            restored=self.check.restored and check.restored,
        )

    def should_migrate_again(self) -> bool:
        """Whether to migrate again: the guest was too idle to go on, and time is left.

        Each time costs the guest a short stop, so that a guest which stays idle is left alone for longer
        and longer.
        """
        if not self._switching or not self.check.running:
            return False
        fruitful = self.writer.intervals > self._intervals_before
        self._pause_s = 0.0 if fruitful else min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
        pause_until = time.monotonic() + self._pause_s
        while time.monotonic() < pause_until and not self._no_more():
            time.sleep(_POLL_S)
        return not self._no_more()

    def write_notes(self) -> None:
        """Write the self-check, and what was odd, into the trace."""
        notes = [self.writer.meta.note] if self.writer.meta.note else []
        if self.switchovers:
            times = "once" if self.switchovers == 1 else f"{self.switchovers} times"
            notes.append(
                f"{times} a sync found next to nothing dirty (the guest was idle), so that QEMU began to switch "
                f"over: cancelled, the guest stood still for {self.check.stopped_ms:.1f} ms in all"
            )
        if self._uncertain:
            notes.append(f"{self._uncertain} rounds have uncertain ends")
        self.writer.update_meta(self_check=self.check.as_dict(), note="; ".join(notes))

    def _no_more(self) -> bool:
        return time.time() >= self._until_s or self.stop()

    def _write(self, sent: Round, syncs: list[float], section_log: SectionLog) -> None:
        self._rounds += 1
        if self._cut == 1:
            if not self._ram_known:
                self._ram_known = True
                self.writer.update_meta(
                    ram_blocks=_trace_blocks(section_log),
                    zero_pages=sent.zero,
                    zero_pages_source="stream, first round",
                )
            return
        self._uncertain += bool(sent.repeated)
        self._joined.append(sent)
        start_s = syncs[self._cut - 1 - len(self._joined)]
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


def _trace_blocks(section_log: SectionLog) -> tuple[RamBlock, ...]:
    from migsim.trace import RamBlock

    return tuple(RamBlock(block.name, block.first_page, block.pages) for block in section_log.blocks)
