"""Our guest with its dirty log on, at full speed or throttled: a migration whose destination discards what it gets.

The migration goes to a reader of migsim's, which reads the stream at a pace, or holds still. At a pace of a few rounds'
pages a second the log is synced and every page protected again in each round. While the reader holds still the log is
on, no round ends, and the migration takes no processor. The guest counts its own writes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from migsim.errors import GuestError, QmpError
from migsim.lab.guest.serial import ProgressLine, parse_serial
from migsim.lab.qemu import QemuProcess
from migsim.lab.running import running_guest
from migsim.qapi import QemuVersion
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec

__all__ = ["DiscardedMigration", "LoggedGuest", "Turn", "logged_guest", "retried"]

REPORT_S = 0.1
FIRST_PACE = 15_000_000
"""Bytes a second at which the first pass is read: QEMU's first window then measures no bandwidth that would end it."""
CHUNK_BYTES = 1 << 20
POLL_S = 0.02
LOOK_S = 0.0005
"""Time between two looks for a report: so late is its time known."""
PATIENCE_S = 20.0
TRIES = 4
_ACK = QemuVersion.parse("8.1")
"""From this release on a destination that never agrees to the switchover keeps the guest on the source."""
_SWITCHOVER_BANDWIDTH = QemuVersion.parse("8.2")
Measured = TypeVar("Measured")
_ENDED = ("none", "completed", "failed", "cancelled")


class _Reader(threading.Thread):
    """Takes one connection, and reads and forgets its bytes at a pace; 0 holds still."""

    def __init__(self, listener: socket.socket, pace: float) -> None:
        super().__init__(daemon=True)
        self.pace = pace
        self.ends = False
        self._listener = listener

    def run(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        buffer = bytearray(CHUNK_BYTES)
        due = time.monotonic()
        while not self.ends:
            pace = self.pace
            if not pace:
                time.sleep(POLL_S / 2)
                due = time.monotonic()
                continue
            read = connection.recv_into(buffer)
            if not read:
                return
            due += read / pace
            early = due - time.monotonic()
            if early > 0.002:
                time.sleep(early)
            due = max(due, time.monotonic())  # no catching up: a burst would let the migration converge


class DiscardedMigration:
    """One migration to a reader that discards it; a context manager that cancels it at the end.

    Parameters
    ----------
    guest : QemuProcess
    pace : float
        Bytes a second that the reader takes once the first pass is over.
    parameters, capabilities : mapping
        Settings of the migration; what is not named stays as it is.
    """

    def __init__(
        self,
        guest: QemuProcess,
        pace: float,
        *,
        parameters: Mapping[str, Any],
        capabilities: Mapping[str, bool],
    ) -> None:
        self._guest = guest
        self._pace = pace
        self._parameters = {"max-bandwidth": 0, "downtime-limit": 1, **parameters}
        held = {"return-path": True, "switchover-ack": True} if guest.qmp.version >= _ACK else {}
        self._capabilities = {"pause-before-switchover": True, **held, **capabilities}

    def __enter__(self) -> DiscardedMigration:
        path = self._guest.folder / "discarded"
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._reader = _Reader(self._listener, min(self._pace, FIRST_PACE))
        self._reader.start()
        qmp = self._guest.qmp
        try:
            states = [{"capability": c, "state": on} for c, on in self._capabilities.items()]
            qmp.execute("migrate-set-capabilities", {"capabilities": states})
            qmp.execute("migrate-set-parameters", self._parameters | _never_done(qmp.version))
            qmp.execute("migrate", {"uri": f"unix:{path}"})
            self.wait(lambda info: _syncs(info) > 2, "end its first pass")
        except BaseException:
            self._end()
            raise
        self._reader.pace = self._pace
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def info(self) -> dict[str, Any]:
        """Return `query-migrate`."""
        return dict(self._guest.qmp.execute("query-migrate"))

    def set(self, parameters: Mapping[str, Any]) -> None:
        """Set parameters while it runs."""
        self._guest.qmp.execute("migrate-set-parameters", dict(parameters))

    def hold(self) -> None:
        """Let the reader hold still: no further round ends."""
        self._reader.pace = 0.0

    def go_on(self) -> None:
        """Let the reader go on."""
        self._reader.pace = self._pace

    def wait(self, reached: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait until `query-migrate` shows something, and return it.

        Raises
        ------
        GuestError
            Where the migration ends before, or it takes longer than `PATIENCE_S`.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not reached(info := self.info()):
            status = str(info.get("status", "none"))
            if time.monotonic() > deadline or status in ("completed", "failed", "pre-switchover"):
                raise GuestError(
                    f"The probe's migration did not {what}: {status} after {_syncs(info)} syncs.",
                    f"It has {PATIENCE_S:g} s for that, and goes on until it is cancelled.",
                    "Make sure that the machine is idle and try again.",
                )
            time.sleep(POLL_S)
        return info

    def _end(self) -> None:
        with contextlib.suppress(QmpError):
            self._guest.qmp.execute("migrate_cancel")
        # A migration thread that waits for the reader is woken by the cancel; one that reads on ends the reader.
        self._reader.ends, self._reader.pace = True, 1e12
        deadline = time.monotonic() + PATIENCE_S
        with contextlib.suppress(QmpError):
            while self.info().get("status", "none") not in _ENDED and time.monotonic() < deadline:
                time.sleep(POLL_S)
        self._listener.close()
        self._reader.join(1.0)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a guest did between two of its reports.

    Attributes
    ----------
    writes : int
    processor_s : float
        Time that its vCPU's thread was on a processor.
    wall_s : float
    """

    writes: int
    processor_s: float
    wall_s: float

    @property
    def write_s(self) -> float:
        """Processor time of a write."""
        return self.processor_s / self.writes


class LoggedGuest:
    """A running guest of ours that counts its writes.

    Parameters
    ----------
    process : QemuProcess
    report_s : float
        Time between its reports.
    """

    def __init__(self, process: QemuProcess, report_s: float = REPORT_S) -> None:
        self.process = process
        self.report_s = report_s
        vcpu = process.qmp.execute("query-cpus-fast")[0]["thread-id"]
        self._schedstat = Path(f"/proc/{process.pid}/task/{vcpu}/schedstat")

    def turn(self, seconds: float) -> Turn:
        """Return what it does in the next `seconds`, from the first report to the last.

        Raises
        ------
        GuestError
            Where it stops to report.
        """
        begin, began_s, begin_s = self._next_report()
        time.sleep(max(seconds - self.report_s, 0.0))
        end, ended_s, end_s = self._next_report()
        return Turn(end.writes - begin.writes, ended_s - began_s, end_s - begin_s)

    def _next_report(self) -> tuple[ProgressLine, float, float]:
        """Wait for the next report; return it with the vCPU's processor time and the time at which it came."""
        path = self.process.serial_path
        size, deadline = path.stat().st_size, time.monotonic() + PATIENCE_S / 4 + 4 * self.report_s
        known = len(self._progress())
        while True:
            while path.stat().st_size == size:
                if time.monotonic() > deadline:
                    self.process.check_alive()
                    status = self.process.qmp.execute("query-status")["status"]
                    raise GuestError(
                        f"The guest, {status}, says nothing any more.",
                        f"It reports its writes every {self.report_s:g} s.",
                        "Make sure that the machine is idle and try again.",
                    )
                time.sleep(LOOK_S)
            processor_s, now = self._processor_s(), time.monotonic()
            size = path.stat().st_size
            progress = self._progress()
            if len(progress) > known:
                return progress[-1], processor_s, now

    def _progress(self) -> list[ProgressLine]:
        """Return its whole reports so far."""
        log = parse_serial(self.process.serial_text())
        log.raise_for_fault()
        return log.progress

    def _processor_s(self) -> float:
        """Time that the vCPU's thread was on a processor, to the nanosecond."""
        return int(self._schedstat.read_text().split()[0]) / 1e9

    def migration(
        self,
        pace: float,
        *,
        parameters: Mapping[str, Any] | None = None,
        capabilities: Mapping[str, bool] | None = None,
    ) -> DiscardedMigration:
        """Return a migration to a reader that discards it, to be entered."""
        return DiscardedMigration(
            self.process, pace, parameters=parameters or {}, capabilities=capabilities or {}
        )


def retried(measure: Callable[[], Measured]) -> Measured:
    """Return what a measurement returns; one in which the guest fails is made again, `TRIES` times in all.

    On a busy machine a vCPU may not run for a whole round, and a release before 8.1 then switches over.
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(GuestError):
            return measure()
    return measure()


@contextlib.contextmanager
def logged_guest(
    qemu: QemuSpec, *classes: PageClass, ram_bytes: int, report_s: float = REPORT_S
) -> Iterator[LoggedGuest]:
    """Start a guest that writes classes of pages as fast as it can; it is ended at the end of the block.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    """
    scenario = LabScenario(
        name="probe-logged-guest",
        qemu=qemu,
        guest=GuestSpec(
            ram_bytes=ram_bytes,
            workload=GuestWorkload(
                touched_pages=max(c.base_page + c.pages for c in classes), classes=classes, report_s=report_s
            ),
        ),
        migration=MigrationSettings(),
        settle_s=0.5,
    )
    with running_guest(scenario) as running:
        yield LoggedGuest(running.process, report_s)


def _never_done(version: QemuVersion) -> dict[str, int]:
    """Return parameters with which a migration switches over only when nothing is dirty, where the release has them."""
    return {"avail-switchover-bandwidth": 1000} if version >= _SWITCHOVER_BANDWIDTH else {}


def _syncs(info: Mapping[str, Any]) -> int:
    return int(info.get("ram", {}).get("dirty-sync-count", 0))
