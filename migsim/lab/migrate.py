"""One real migration: two QEMU processes are started, the guest is migrated, and the run is made a result."""

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
from migsim.lab.cores import Cores
from migsim.lab.host_load import HostLoad
from migsim.lab.machine import check_host
from migsim.lab.qemu import QemuProcess
from migsim.lab.sides import cause_of, check_version, ready_within_s, set_up_sides, settle, start_side
from migsim.units import read_positive_s

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
    """What was observed of one migration, from which `migsim.lab.record.make_result` makes the result.

    Attributes
    ----------
    source, destination : QemuProcess
        Both QEMUs; they still run, or have died.
    began, ended : float
        When the migrate command was given, and when `query-migrate` first said that the migration is over (host clock).
    samples : list of dict
        `query-migrate` answers, each with its host-clock ``seconds``.
    not_converged : bool
        Whether the deadline came before the migration's end.
    progressed : bool or None
        Whether the guest worked on at the destination; None where it did not arrive.
    host_load : dict
        As `HostLoad.stop` returns it.
    serial_watch : SerialWatch or None
        The times of the guest's serial lines.
    cores : Cores or None
        What the sides were pinned to; None where the scheduler chose.
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
    cores: Cores | None = None


def run_migration(
    scenario: LabScenario,
    *,
    progress: Callable[[dict[str, Any]], None] | None = None,
    ready_timeout_s: float | None = None,
    pin: Cores | str | None = None,
    command: str = "",
) -> MigrationResult:
    """Start the scenario's guest, migrate it, and return the measured result.

    Parameters
    ----------
    scenario : LabScenario
        The migration to run.
    progress : callable, optional
        Called with each `query-migrate` answer.
    ready_timeout_s : float, optional
        How long the guest may take to fill its memory; by default 180 s, 900 s for a Linux guest.
    pin : Cores or str, optional
        Cores of each side, as two hosts have them: ``"auto"`` or ``"0:1"`` (see `Cores.parse`). By default the
        scheduler chooses, on one machine.
    command : str
        The command line of migsim, for the record's provenance.

    Returns
    -------
    MigrationResult
        Of kind ``measured``. A migration that fails or does not converge is a result too.

    Raises
    ------
    HostError
        No ``/dev/kvm``, no room in ``/dev/shm``, no image of the Linux guest, no such cores.
    QemuError
        QEMU is missing, is of another version, refuses a command, or dies.
    ParameterError, UnitError
        A `ready_timeout_s` that is not above 0 and finite; cores of another form.
    GuestError
        The guest never became ready.

    Notes
    -----
    Both QEMU processes are ended and their files removed before this returns or raises.
    """
    from migsim.lab.record import make_result

    if ready_timeout_s is not None:
        ready_timeout_s = read_positive_s("ready_timeout", ready_timeout_s)
    cores = Cores.parse(pin) if isinstance(pin, str) else pin
    check_host(scenario.qemu)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsim-lab-")))
        source = start_side(stack, scenario, folder, "source")
        check_version(scenario, source.qmp)
        guest_log.wait_ready(source, ready_within_s(scenario, ready_timeout_s))
        destination = start_side(stack, scenario, folder, "destination")
        uri = set_up_sides(scenario, source, destination, folder)
        if cores is not None:
            cores.pin(source)
            cores.pin(destination)
        run = ObservedRun(source, destination, cores=cores)
        if scenario.guest.linux is not None:  # its speed before the migration is needed to tell its loss
            run.serial_watch = guest_log.SerialWatch(source, destination)
        settle(scenario.settle_s, source, destination, serial_watch=run.serial_watch)
        try:
            _migrate(scenario, run, uri, progress)
            _check_afterwards(scenario, run)
        except QmpError as error:
            raise cause_of(error, source, destination) from error
        return make_result(scenario, run, command=command)


def _migrate(
    scenario: LabScenario, run: ObservedRun, uri: str, progress: Callable[[dict[str, Any]], None] | None
) -> None:
    """Migrate, and sample `query-migrate` until the migration has ended or its deadline has passed."""
    qmp = run.source.qmp
    load = HostLoad([("source", run.source.pid), ("destination", run.destination.pid)])
    load.start()
    run.began = time.time()
    run.serial_watch = serial_watch = run.serial_watch or guest_log.SerialWatch(run.source, run.destination)
    deadline = time.monotonic() + scenario.deadline_s
    qmp.execute("migrate", {"uri": uri})
    while True:
        info = _sample(run)
        status = info.get("status")
        load.sample()
        serial_watch.stamp_new_lines()
        if progress is not None:
            progress(info)
        if status in _ENDED:
            break
        if status == "pre-switchover":
            # The scenario has set pause-before-switchover, so QEMU waits for this command.
            qmp.execute("migrate-continue", {"state": "pre-switchover"})
        if time.monotonic() > deadline:
            run.not_converged = True
            _cancel(run)
            break
        run.destination.check_alive()
        # Sample as soon as a round begins: the counters then belong to the sync that opened it.
        with contextlib.suppress(QmpError):
            qmp.wait_event("MIGRATION_PASS", timeout_s=_SAMPLE_S)
    run.ended = time.time()
    run.host_load = load.stop()
    if status == "completed":
        _final_answer(run)
    elif status == "failed":
        _raise_if_killed(run.destination)


def _raise_if_killed(side: QemuProcess) -> None:
    """Raise where the destination crashed; one that refused the stream and exited makes a failed result."""
    deadline = time.monotonic() + 0.5
    while side.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    if side.killed:
        raise side.death()


def _sample(run: ObservedRun) -> dict[str, Any]:
    info: dict[str, Any] = run.source.qmp.execute("query-migrate", timeout_s=60.0)
    run.samples.append({"seconds": time.time(), **info})
    return info


def _final_answer(run: ObservedRun) -> None:
    """Ask again until the totals are there: the first answer of 7.2 after completion may still hold 0."""
    for _ in range(50):
        info = run.samples[-1]
        if info.get("total-time") and info.get("downtime") is not None and _settled(run.samples):
            return
        time.sleep(0.02)
        _sample(run)


def _settled(samples: list[dict[str, Any]]) -> bool:
    """Whether the last two answers are equal, which means that QEMU no longer updates a counter."""
    if len(samples) < 2:
        return False
    last, before = ({k: v for k, v in s.items() if k != "seconds"} for s in samples[-2:])
    return last == before


def _cancel(run: ObservedRun) -> None:
    run.source.qmp.execute("migrate_cancel")
    deadline = time.monotonic() + _CANCEL_S
    while time.monotonic() < deadline:
        if run.source.qmp.execute("query-migrate").get("status") in _ENDED:
            return
        time.sleep(_SAMPLE_S)


def _check_afterwards(scenario: LabScenario, run: ObservedRun) -> None:
    """Check that the guest works on at the destination; let a Linux guest run for a while, which shows its recovery."""
    linux = scenario.guest.linux
    arrived = run.samples[-1].get("status") == "completed" and not run.not_converged
    if arrived:
        with contextlib.suppress(QmpError):
            run.destination.qmp.wait_event("RESUME", timeout_s=_RESUME_S)
        workload = scenario.guest.workload
        # The first pass over all pages may have begun at the source; the second lies at the destination as a whole.
        run.progressed = guest_log.wait_progress(
            run.destination,
            lines=2,
            passes=2 if workload.check else 0,
            serial_watch=run.serial_watch,
            deadline_s=_deadline_s(scenario.guest),
        )
    if linux is not None and run.progressed is not False:
        settle(_LINUX_AFTER_S, run.destination if arrived else run.source, serial_watch=run.serial_watch)


def _deadline_s(guest: GuestSpec) -> float:
    """Return how long the guest may take at the destination until its second progress line."""
    if guest.linux is not None:
        return 20.0 + 4 * guest.linux.report_s
    return _CHECK_S if guest.workload.check else 5.0 + 4 * guest.workload.report_s
