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

from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.tracer.base import Availability, ProgressCallback, StopCallback
from migsim.tracer.content import ContentSampler
from migsim.tracer.dirty_rate import MILLISECONDS_SINCE, DirtyRateCollector
from migsim.tracer.stream.pacing import HeldRounds, PacedRounds
from migsim.tracer.stream.reader import StreamReader
from migsim.tracer.stream.recording import StreamRecording
from migsim.tracer.stream.rounds import SectionLog
from migsim.tracer.stream.source import StreamSource, listening_socket

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.trace import TraceWriter

__all__ = ["StreamCollector"]

SHORT_WINDOWS_S = (0.05, 0.1, 0.2)
SHORT_DURATION_S = 6.0
"""How long `calc-dirty-rate` is asked for windows that no round can be as short as, before the migration."""

DEFAULT_WINDOWS_S = (0.2, 0.3, 0.2, 0.5, 0.2, 1.0, 0.3, 2.0, 0.2, 0.5, 4.0)


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
        before, a round takes some 1.2 s and, with d pages, d x 0.1 s at most.
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
        progress: ProgressCallback,
        stop: StopCallback,
    ) -> None:
        """Record rounds for `duration_s` seconds after the first round, which sends all of RAM.

        Where a sync finds next to nothing dirty, QEMU before 8.2 begins to switch over: the migration is
        cancelled, and begun again, first round and all. The note says how long the guest stood still.

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
        recording = StreamRecording(writer, duration_s, progress, stop)
        try:
            self._migration(session, recording)
            while recording.should_migrate_again():
                self._migration(session, recording)
        finally:
            recording.write_notes()

    def _migration(self, session: QmpSession, recording: StreamRecording) -> None:
        """Migrate until recording is over, or the source begins to switch over; undo all of it."""
        sampler = ContentSampler(self.sampled_pages) if self.sampled_pages else None
        with listening_socket() as (listener, path):
            reader = StreamReader(listener, SectionLog(sampler), peer_pid=session.peer_pid)
            pacing_type = HeldRounds if session.version >= StreamSource.holds_since else PacedRounds
            pacing = pacing_type(self.max_bandwidth, self.windows_s, recording.is_over)
            source = StreamSource(session, path, pacing.first_parameters())
            reader.start()
            try:
                with source:
                    recording.begin(source, reader)
                    for _ in pacing.run(source, reader.section_log):
                        recording.write_finished_rounds()
                    recording.finish()
            finally:
                reader.close()
                recording.add_check(source.check)

    def _short_windows(
        self, session: QmpSession, writer: TraceWriter, progress: ProgressCallback, stop: StopCallback
    ) -> None:
        """Ask QEMU itself for windows of 50 to 200 ms, where it answers in milliseconds.

        A round is 200 ms at the least, and what a guest writes in less decides whether it converges.
        """
        if session.version < MILLISECONDS_SINCE:
            return
        meter = DirtyRateCollector(["dirty-bitmap"], only_if_offered=True, windows_s=SHORT_WINDOWS_S)
        meter.record(session, writer, duration_s=SHORT_DURATION_S, progress=progress, stop=stop)
