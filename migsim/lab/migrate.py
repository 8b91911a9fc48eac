"""One real migration: two QEMU processes started, one guest moved, what was seen made a `MigrationResult`."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.errors import QmpError
from migsim.lab import guest_log
from migsim.lab.host_load import HostLoad
from migsim.lab.machine import check_host
from migsim.lab.qemu import QemuProcess
from migsim.lab.sides import cause_of, check_version, ready_within_s, set_up_sides, settle, start_side

if TYPE_CHECKING:
    from migsim.results import MigrationResult
    from migsim.scenario import GuestSpec, LabScenario

__all__ = ["ObservedRun", "run_migration"]

_SAMPLE_S = 0.1
_ENDED = ("completed", "failed", "cancelled")
_CANCEL_S = 20.0
_RESUME_S = 30.0
_CHECK_S = 120.0
_LINUX_AFTER_S = 12.0


@dataclass
class ObservedRun:
    """What one run showed, before it is put in order.

    Attributes
    ----------
    source, destination : QemuProcess
        Ended by the time a result is made; their logs are read before.
    began, ended : float
        From the migrate command to the first answer that says it is over, host clock.
    samples : list of dict
        `query-migrate` answers, each with its host-clock ``seconds``.
    not_converged : bool
        Whether the deadline came first.
    progressed : bool or None
        Whether the guest went on at the destination; None where it did not get there.
    serial_watch : SerialWatch or None
        When the guest said what, once the migration has begun.
    """

    source: QemuProcess
    destination: QemuProcess
    began: float = 0.0
    ended: float = 0.0
    samples: list[dict[str, Any]] = field(default_factory=list)
    not_converged: bool = False
    progressed: bool | None = None
    host_load: dict[str, Any] = field(default_factory=dict)
    serial_watch: guest_log.SerialWatch | None = None


def run_migration(
    scenario: LabScenario,
    *,
    progress: Callable[[dict[str, Any]], None] | None = None,
    ready_timeout_s: float | None = None,
    command: str = "",
) -> MigrationResult:
    """Start the scenario's guest, migrate it, and return what was seen.

    Parameters
    ----------
    scenario : LabScenario
        What to run.
    progress : callable, optional
        Called with each `query-migrate` answer.
    ready_timeout_s : float, optional
        How long the guest may take to fill its memory: 180 s, a Linux guest 900 s.
    command : str
        The command line that asked for this, for the record.

    Returns
    -------
    MigrationResult
        Of kind ``measured``; a migration that fails or does not converge is a result too.

    Raises
    ------
    HostError
        No ``/dev/kvm``, no room in ``/dev/shm``, no image of the Linux guest.
    QemuError
        QEMU missing, of another version, refusing, or dying on the way.
    GuestError
        The guest never became ready.

    Whatever happens, both QEMU processes are ended and their files removed before this returns.
    """
    from migsim.lab.record import make_result

    check_host(scenario.qemu)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsim-lab-")))
        source = start_side(stack, scenario, folder, "source")
        check_version(scenario, source.qmp)
        guest_log.wait_ready(source, ready_within_s(scenario, ready_timeout_s))
        destination = start_side(stack, scenario, folder, "destination")
        uri = set_up_sides(scenario, source, destination, folder)
        seen = ObservedRun(source, destination)
        if scenario.guest.linux is not None:  # how fast it was before is part of what it loses
            seen.serial_watch = guest_log.SerialWatch(source, destination)
        settle(scenario.settle_s, source, destination, serial_watch=seen.serial_watch)
        try:
            _migrate(scenario, seen, uri, progress)
            _look_afterwards(scenario, seen)
        except QmpError as error:
            raise cause_of(error, source, destination) from error
        return make_result(scenario, seen, command=command)


def _migrate(
    scenario: LabScenario, seen: ObservedRun, uri: str, progress: Callable[[dict[str, Any]], None] | None
) -> None:
    """Migrate and sample until it is over, one way or the other."""
    qmp = seen.source.qmp
    load = HostLoad([("source", seen.source.pid), ("destination", seen.destination.pid)])
    load.start()
    seen.began = time.time()
    seen.serial_watch = serial_watch = seen.serial_watch or guest_log.SerialWatch(
        seen.source, seen.destination
    )
    deadline = time.monotonic() + scenario.deadline_s
    qmp.execute("migrate", {"uri": uri})
    while True:
        info = _sample(seen)
        status = info.get("status")
        load.sample()
        serial_watch.stamp_new_lines()
        if progress is not None:
            progress(info)
        if status in _ENDED:
            break
        if status == "pre-switchover":
            # The capability pause-before-switchover is the scenario's wish; nobody else will go on.
            qmp.execute("migrate-continue", {"state": "pre-switchover"})
        if time.monotonic() > deadline:
            seen.not_converged = True
            _cancel(seen)
            break
        seen.destination.check_alive()
        # A new round is sampled at once: its counters then belong to the sync that opened it.
        with contextlib.suppress(QmpError):
            qmp.wait_event("MIGRATION_PASS", timeout_s=_SAMPLE_S)
    seen.ended = time.time()
    seen.host_load = load.stop()
    if status == "completed":
        _final_answer(seen)
    elif status == "failed":
        _raise_if_killed(seen.destination)


def _raise_if_killed(side: QemuProcess) -> None:
    """Tell a destination that crashed from one that refused the stream: the latter is a result."""
    deadline = time.monotonic() + 0.5
    while side.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    if side.killed:
        raise side.death()


def _sample(seen: ObservedRun) -> dict[str, Any]:
    info: dict[str, Any] = seen.source.qmp.execute("query-migrate", timeout_s=60.0)
    seen.samples.append({"seconds": time.time(), **info})
    return info


def _final_answer(seen: ObservedRun) -> None:
    """Ask again until the totals are there: 7.2's first answer after completion can still say 0."""
    for _ in range(50):
        info = seen.samples[-1]
        if info.get("total-time") and info.get("downtime") is not None and _settled(seen.samples):
            return
        time.sleep(0.02)
        _sample(seen)


def _settled(samples: list[dict[str, Any]]) -> bool:
    """Whether the last two answers are equal, so that no counter is still on its way."""
    if len(samples) < 2:
        return False
    last, before = ({k: v for k, v in s.items() if k != "seconds"} for s in samples[-2:])
    return last == before


def _cancel(seen: ObservedRun) -> None:
    seen.source.qmp.execute("migrate_cancel")
    deadline = time.monotonic() + _CANCEL_S
    while time.monotonic() < deadline:
        if seen.source.qmp.execute("query-migrate").get("status") in _ENDED:
            return
        time.sleep(_SAMPLE_S)


def _look_afterwards(scenario: LabScenario, seen: ObservedRun) -> None:
    """Let the guest run on, at the destination where it got there, and see whether it does."""
    linux = scenario.guest.linux
    arrived = seen.samples[-1].get("status") == "completed" and not seen.not_converged
    if arrived:
        with contextlib.suppress(QmpError):
            seen.destination.qmp.wait_event("RESUME", timeout_s=_RESUME_S)
        workload = scenario.guest.workload
        # The first pass over all pages may have begun at the source; the second is the destination's own.
        seen.progressed = guest_log.wait_progress(
            seen.destination,
            lines=2,
            passes=2 if workload.check else 0,
            serial_watch=seen.serial_watch,
            deadline_s=_deadline_s(scenario.guest),
        )
    if linux is not None and seen.progressed is not False:  # how it recovers
        settle(_LINUX_AFTER_S, seen.destination if arrived else seen.source, serial_watch=seen.serial_watch)


def _deadline_s(guest: GuestSpec) -> float:
    """How long the guest may take at the destination until its second line."""
    if guest.linux is not None:
        return 20.0 + 4 * guest.linux.report_s
    return _CHECK_S if guest.workload.check else 5.0 + 4 * guest.workload.report_s
