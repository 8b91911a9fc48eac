"""A guest of the lab that runs and is not migrated, for a tracer or a person to look at."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migsim.errors import QmpError
from migsim.lab import guest_log
from migsim.lab.linux_machine import image_facts
from migsim.lab.machine import check_host
from migsim.lab.qemu import QemuProcess
from migsim.lab.sides import cause_of, check_version, ready_within_s, settle, start_side
from migsim.results.linux_lines import LinuxWork
from migsim.scenario import LabScenario

__all__ = ["RunningGuest", "running_guest"]


@dataclass
class RunningGuest:
    """A running guest.

    Attributes
    ----------
    socket : Path
        A second monitor socket, which migsim does not use itself.
    process : QemuProcess
    linux : bool
        Whether it is a Linux guest.
    reports_before : int
        Number of progress reports before it was traced.
    """

    socket: Path
    process: QemuProcess = field(repr=False)
    linux: bool = False
    reports_before: int = 0

    def self_check(self) -> dict[str, Any]:
        """Return a Linux guest's rates of transactions before it was traced and since; {} for our own guest.

        Raises
        ------
        GuestError
            Where its log reports a fault.
        """
        if not self.linux:
            return {}
        log = guest_log.log_of(self.process)
        log.raise_for_fault()
        work = [line for line in log.progress if isinstance(line, LinuxWork)]
        before, since = work[: self.reports_before], work[max(self.reports_before - 1, 0) :]
        return {
            "operations_per_s_before": _per_s(before),
            "operations_per_s_traced": _per_s(since),
            "linux_image": image_facts(),
        }


def _per_s(work: list[LinuxWork]) -> float | None:
    if len(work) < 2 or work[-1].clock_us <= work[0].clock_us:
        return None
    done = [sum(total.completed for total in line.operations.values()) for line in (work[0], work[-1])]
    return round((done[1] - done[0]) / (work[-1].clock_us - work[0].clock_us) * 1e6, 2)


@contextlib.contextmanager
def running_guest(scenario: LabScenario, *, ready_timeout_s: float | None = None) -> Iterator[RunningGuest]:
    """Start the scenario's guest and let it work for `settle_s`; it is ended at the end of the block.

    Yields
    ------
    RunningGuest
        With a monitor socket that a tracer can use.

    Raises
    ------
    HostError, QemuError, GuestError
        As `run_migration`.
    """
    check_host(scenario.qemu)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsim-")))
        free = folder / "free.qmp"
        more = (*scenario.qemu.extra_arguments, "-qmp", f"unix:{free},server=on,wait=off")
        qemu = scenario.qemu.replace(extra_arguments=more)
        guest = start_side(stack, scenario.replace(qemu=qemu), folder, "source")
        check_version(scenario, guest.qmp)
        guest_log.wait_ready(guest, ready_within_s(scenario, ready_timeout_s))
        settle(scenario.settle_s, guest)
        running = RunningGuest(free, guest, linux=scenario.guest.linux is not None)
        running.reports_before = len(guest_log.log_of(guest).progress)
        try:
            yield running
        except QmpError as error:
            found = cause_of(error, guest)
            raise type(found)(
                found.what, found.rule, error.todo
            ) from error  # the tracer's advice says which data it kept
