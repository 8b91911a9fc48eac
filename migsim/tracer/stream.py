"""The stream collector: be the destination of a migration that never ends, and read which pages it sends.

A precopy round sends every page that the guest wrote to between the two bitmap syncs before it. So round k
tells what was written in the interval from sync k-1 to sync k. The first round sends all of RAM and tells which
pages are zero. The guest is neither stopped nor changed; see `stream_source` for what keeps it so.

Cost for the guest: dirty logging's faults, as in any migration, and the source's thread, bounded by
`max_bandwidth`. With KVM's manual dirty-log protection a page that is dirty in two rounds running is watched
only from the sending of its 1 GiB chunk on, not from the sync: most pages are sent within one accounting window
(100 ms) after the sync.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.tracer.base import Availability, Progress, Stop
from migsim.tracer.content import ContentSampler
from migsim.tracer.dirty_rate import MILLISECONDS_SINCE, DirtyRateCollector
from migsim.tracer.stream_pacing import HeldRounds, PacedRounds
from migsim.tracer.stream_reader import StreamReader
from migsim.tracer.stream_rounds import Round, RoundBook
from migsim.tracer.stream_source import StreamSource, listening_socket

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["StreamCollector"]

SHORT_WINDOWS_S = (0.05, 0.1, 0.2)
SHORT_DURATION_S = 6.0
"""How long `calc-dirty-rate` is asked for windows that no round can be as short as, before the migration."""

DEFAULT_WINDOWS_S = (0.2, 0.3, 0.2, 0.5, 0.2, 1.0, 0.3, 2.0, 0.2, 0.5, 4.0)
_SHORTEST_S = 0.005  # rounds are joined until they span this: what a sync takes would blur shorter ones


class StreamCollector:
    """Records page numbers round by round from the migration stream.

    Parameters
    ----------
    max_bandwidth : int
        Bytes/s the source may send: 500 MB/s by default, a quarter or so of what one core can send, so that
        the sending thread takes little from the guest. A guest that writes to more than that is traced in
        rounds as long as sending takes.
    windows_s : sequence of float
        Lengths of the rounds wanted, in turn, 0.2 or more. QEMU 8.2 and newer keeps to them up to 0.1 s;
        before, a round takes some 0.8 s and, with d pages, d x 0.1 s at most.
    sampled_pages : int
        Pages whose contents are kept in memory to compare; 0 for none.

    Examples
    --------
    >>> StreamCollector(max_bandwidth=100_000_000).name
    'stream'
    """

    name = "stream"

    def __init__(
        self,
        *,
        max_bandwidth: int = 500_000_000,
        windows_s: Sequence[float] = DEFAULT_WINDOWS_S,
        sampled_pages: int = 1024,
    ) -> None:
        self.max_bandwidth = max_bandwidth
        self.windows_s = tuple(windows_s)
        self.sampled_pages = sampled_pages

    def check(self, session: QmpSession) -> Availability:
        """Say whether the guest runs and QEMU can migrate it."""
        status = session.execute("query-status")
        if not status["running"]:
            return Availability(False, f"the guest does not run (query-status says {status['status']!r})")
        blocked = session.execute("query-migrate").get("blocked-reasons")
        if blocked:
            return Availability(False, f"QEMU cannot migrate the guest: {blocked[0]}")
        return Availability(True, "page numbers, zero pages and contents, round by round")

    def record(
        self,
        session: QmpSession,
        writer: TraceWriter,
        *,
        duration_s: float,
        progress: Progress,
        stop: Stop,
    ) -> None:
        """Record rounds for `duration_s` seconds after the first round, which sends all of RAM.

        Raises
        ------
        QmpError
            A migration is active, or the monitor is lost.
        TraceError
            The stream holds what the collector cannot read.
        QemuError
            The migration ended by itself.
        HostError
            The trace cannot be written.
        """
        self._short_windows(session, writer, progress, stop)
        sampler = ContentSampler(self.sampled_pages) if self.sampled_pages else None
        with listening_socket() as (listener, path):
            reader = StreamReader(listener, RoundBook(sampler), peer_pid=session.peer_pid)
            recording = _Recording(writer, reader, duration_s, progress, stop)
            pacing_type = HeldRounds if session.version >= StreamSource.holds_since else PacedRounds
            pacing = pacing_type(self.max_bandwidth, self.windows_s, recording.over)
            source = StreamSource(session, path, pacing.first_parameters())
            reader.start()
            try:
                with source:
                    recording.source = source
                    for _ in pacing.run(source, reader.book):
                        recording.look()
                    recording.finish()
            finally:
                reader.close()
                recording.describe(source)

    def _short_windows(
        self, session: QmpSession, writer: TraceWriter, progress: Progress, stop: Stop
    ) -> None:
        """Ask QEMU itself for windows of 50 to 200 ms, where it answers in milliseconds.

        A round is 200 ms at the least, and what a guest writes in less decides whether it converges.
        """
        if session.version < MILLISECONDS_SINCE:
            return
        meter = DirtyRateCollector(["dirty-bitmap"], only_if_offered=True, windows_s=SHORT_WINDOWS_S)
        meter.record(session, writer, duration_s=SHORT_DURATION_S, progress=progress, stop=stop)


class _Recording:
    """Writes rounds as they become complete, and knows when it is over."""

    def __init__(
        self, writer: TraceWriter, reader: StreamReader, duration_s: float, progress: Progress, stop: Stop
    ) -> None:
        self.writer = writer
        self.reader = reader
        self.book = reader.book
        self.duration_s = duration_s
        self.progress = progress
        self.stop = stop
        self.source: StreamSource | None = None
        self.uncertain = 0
        self.idle = False
        self._cut = 1  # syncs up to which rounds have been taken out of the book
        self._rounds = 0
        self._joined: list[Round] = []

    def over(self) -> bool:
        """Whether recording should end: stopped, time is up, the stream ended, or the guest went idle."""
        source = self.source
        if source is None:
            return False
        self.idle = self.idle or source.switching()
        syncs = source.syncs()
        in_time = len(syncs) < 2 or time.time() < syncs[1] + self.duration_s
        return self.idle or self.reader.ended.is_set() or not in_time or self.stop()

    def look(self) -> None:
        """Take finished rounds out of the book and write them."""
        source = self.source
        if source is None:
            return
        syncs = source.syncs()
        while len(syncs) > self._cut and self.book.settled(syncs[self._cut]):
            next_s = syncs[self._cut + 1] if len(syncs) > self._cut + 1 else math.inf
            begin_s, end_s = syncs[self._cut - 1 : self._cut + 1]
            sent = self.book.cut(begin_s, end_s, first=self._cut == 1, next_s=next_s)
            self._write(sent, syncs, source.began_s)
            self._cut += 1
        done_s = max(0.0, time.time() - syncs[1]) if len(syncs) > 1 else 0.0
        note = f"{self._rounds} rounds" if done_s else f"first round: {self.book.pages_seen} pages"
        self.progress(min(done_s, self.duration_s), note)

    def _write(self, sent: Round, syncs: list[float], began_s: float) -> None:
        self._rounds += 1
        if self._cut == 1:
            self.writer.update_meta(
                ram_blocks=_trace_blocks(self.book),
                zero_pages=sent.zero,
                zero_pages_source="stream, first round",
            )
            return
        if sent.repeated:
            self.uncertain += 1
        sampler = self.book.sampler
        self._joined.append(sent)
        start_s = syncs[self._cut - 1 - len(self._joined)]
        if sent.begin_s - start_s < _SHORTEST_S:
            return
        if sampler is not None:
            statistics = sampler.take()
            if len(statistics.page):
                self.writer.add_content(*statistics)
        zero = sum(part.zero for part in self._joined)
        self.writer.add_interval(
            start_s - began_s,
            sent.begin_s - began_s,
            sent_pages=sum(part.normal for part in self._joined) + zero,
            zero_pages=zero,
            pages=np.unique(np.concatenate([part.pages for part in self._joined])),
        )
        self._joined = []

    def finish(self) -> None:
        """Raise where recording ended because something broke."""
        self.look()
        if self.reader.error is not None:
            raise self.reader.error
        if self.reader.ended.is_set() and self.source is not None and not self.idle:
            raise self.source.failure()

    def describe(self, source: StreamSource) -> None:
        """Write the self-check, and what was odd, into the trace."""
        notes = [self.writer.meta.note] if self.writer.meta.note else []
        check = source.check
        if self.idle:
            notes.append(
                "a sync found next to nothing dirty (the guest went idle), so that QEMU began to switch over: "
                f"cancelled, the guest stood still for {check.stopped_ms:.1f} ms"
            )
        if self.uncertain:
            notes.append(f"{self.uncertain} rounds have uncertain ends")
        self.writer.update_meta(self_check=check.as_dict(), note="; ".join(notes))


def _trace_blocks(book: RoundBook) -> tuple[Any, ...]:
    from migsim.trace import RamBlock

    return tuple(RamBlock(block.name, block.first_page, block.pages) for block in book.blocks)
