"""The `stream` collector: acts as the destination of a migration that is never completed, and reads its pages.

A precopy round sends every page that the guest wrote between the two bitmap syncs before it: the pages of round k were
written in the interval from sync k-1 to sync k. The first round sends all of RAM, and shows which pages are zero. The
guest is neither stopped nor changed; `migsim.tracer.stream.source` says how that is ensured.

The guest pays for the write faults of dirty logging, as in any migration, and for the sending thread, whose rate
`max_bandwidth` limits. With KVM's manual dirty-log protection, a page that is dirty in two successive rounds is not
logged from the sync on, but from the moment when its chunk of 1 GiB is sent. Most pages are sent within one accounting
window (100 ms) after the sync.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.errors import ParameterError
from migsim.tracer.base import Availability, ProgressCallback, StopCallback
from migsim.tracer.content import ContentSampler
from migsim.tracer.dirty_rate import DirtyRateCollector
from migsim.tracer.guest_settings import forget
from migsim.tracer.stream.pacing import SHORTEST_HELD_S, HeldRounds, PacedRounds, default_windows_s
from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.recording import StreamRecording
from migsim.tracer.stream.rounds import SectionLog
from migsim.tracer.stream.source import ACK_UNTIL, StreamSource, listening_socket
from migsim.units import read_count, read_positive_s

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["StreamCollector"]

SHORT_WINDOWS_S = (0.05, 0.1, 0.2)
"""Windows that are measured with `calc-dirty-rate` before a migration whose rounds cannot be that short."""
SHORT_DURATION_S = 6.0
"""How long those measurements take together."""

_LEAST_BANDWIDTH = 4104  # a page's record a second
_POLL_S = 0.005


class StreamCollector:
    """Records page numbers round by round from the migration stream.

    Parameters
    ----------
    max_bandwidth : int
        Bytes/s that the source may send. The default of 500 MB/s is about a quarter of what one core can send, so
        the sending thread takes little time from the guest. If the guest dirties more than that, a round lasts as
        long as sending its pages takes.
    windows_s : sequence of float, optional
        Requested lengths of the rounds, in turn; else those of `default_windows_s`. Where the source is held (QEMU
        8.2 to 11.0, and before 8.0 a guest whose disks have no dirty bitmaps), rounds of 0.2 s and more differ from
        them by at most 0.1 s, and shorter ones are as long as asked for, or as syncing and sending takes. Elsewhere a
        round takes about 1.2 s, and one of d pages at most d x 0.1 s.
    sampled_pages : int
        Number of pages whose contents are kept in memory and compared; 0 for none.

    Raises
    ------
    ParameterError, UnitError
        For lengths that are no times above 0, or numbers that are not whole.

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
        windows_s: Sequence[float] | None = None,
        sampled_pages: int = 1024,
    ) -> None:
        self.max_bandwidth = read_count("max_bandwidth", max_bandwidth, least=_LEAST_BANDWIDTH)
        self.windows_s: tuple[float, ...] | None = None
        if windows_s is not None:
            self.windows_s = tuple(read_positive_s("windows_s", window_s) for window_s in windows_s)
        if self.windows_s == ():
            raise ParameterError(
                "windows_s is empty.", "It has a length for each round, in turn.", "Give one or more."
            )
        self.sampled_pages = read_count("sampled_pages", sampled_pages)

    def check(self, session: QmpSession) -> Availability:
        """Say whether the guest is running and QEMU can migrate it."""
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
        progress: ProgressCallback,
        stop: StopCallback,
    ) -> None:
        """Record rounds for `duration_s` seconds after the first round, which sends all of RAM.

        If a sync finds almost nothing dirty, a source that is not held begins to switch over. The migration is then
        cancelled, and a new one is started, which sends all of RAM again. The trace's note says how long the guest was
        stopped, and why the source is not held.

        Raises
        ------
        QmpError
            A migration is active, or the connection to the monitor is lost.
        TraceError
            The collector cannot read the stream.
        QemuError
            The migration ended although nobody cancelled it.
        HostError
            The trace cannot be written.
        """
        self._measure_short_windows(session, writer, progress, stop)
        recording = StreamRecording(writer, duration_s, progress, stop)
        try:
            self._migrate(session, recording)
            while recording.should_migrate_again():
                self._migrate(session, recording)
        finally:
            recording.write_notes()

    def _migrate(self, session: QmpSession, recording: StreamRecording) -> None:
        """Run one migration until the recording is over or the source begins to switch over; then undo it."""
        sampler = ContentSampler(self.sampled_pages) if self.sampled_pages else None
        with listening_socket() as (listener, path):
            reader = StreamReader(listener, SectionLog(sampler), peer_pid=session.peer_pid)
            target = recording.writer.path
            source = StreamSource(session, path, keep=lambda settings: settings.keep(target))
            reader.start()
            try:
                with source:
                    pacing = self._start(source, reader, recording)
                    for _ in pacing.run(source, reader):
                        recording.write_finished_rounds()
                    recording.finish()
            finally:
                reader.close()
                recording.add_check(source.check)
                if source.check.restored:
                    forget(target)

    def _start(
        self, source: StreamSource, reader: StreamReader, recording: StreamRecording
    ) -> HeldRounds | PacedRounds:
        """Start the migration; return the pacing, which depends on whether the source is held."""
        windows_s = self.windows_s or default_windows_s(recording.duration_s)
        held = HeldRounds(self.max_bandwidth, windows_s, recording.is_over, by_bandwidth=source.bitmap)
        long_s = [window_s for window_s in windows_s if window_s >= SHORTEST_HELD_S] or windows_s
        paced = PacedRounds(self.max_bandwidth, long_s, recording.is_over)
        source.start((paced if source.why_not else held).first_parameters())
        recording.begin(source, reader)
        if source.bitmap:
            while not reader.parser.iterating and not recording.is_over():
                time.sleep(_POLL_S)
            if not reader.parser.bitmaps:  # pages go slowly until this is known
                source.why_not = "QEMU does not announce the dirty bitmap"
                source.set(**paced.first_parameters())
        recording.why_not_held = source.why_not
        return paced if source.why_not else held

    def _measure_short_windows(
        self, session: QmpSession, writer: TraceWriter, progress: ProgressCallback, stop: StopCallback
    ) -> None:
        """Measure windows of 50 to 200 ms with `calc-dirty-rate`, where rounds cannot be that short.

        The pages that a guest writes in such a time decide whether it converges.
        """
        if session.version < ACK_UNTIL:
            return
        collector = DirtyRateCollector(["dirty-bitmap"], only_if_offered=True, windows_s=SHORT_WINDOWS_S)
        collector.record(session, writer, duration_s=SHORT_DURATION_S, progress=progress, stop=stop)
