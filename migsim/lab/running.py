"""A guest of the lab that just runs, for something else to look at: a tracer, a person."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from migsim.lab.machine import check_host
from migsim.lab.migrate import _check_version as check_version
from migsim.lab.migrate import _settle as settle
from migsim.lab.migrate import _start as start_side
from migsim.scenario import LabScenario

__all__ = ["running_guest"]


@contextlib.contextmanager
def running_guest(scenario: LabScenario, *, ready_timeout_s: float = 180.0) -> Iterator[Path]:
    """Start the scenario's guest, let it settle, and end it when the block is left, whatever happened in it.

    Yields
    ------
    Path
        A monitor socket of the guest, free for whoever looks at it.

    Raises
    ------
    HostError, QemuError, GuestError
        As `run_migration`.
    """
    from migsim.lab.guest_log import wait_ready

    check_host(scenario.qemu)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="migsim-")))
        free = folder / "free.qmp"
        more = (*scenario.qemu.extra_arguments, "-qmp", f"unix:{free},server=on,wait=off")
        qemu = scenario.qemu.replace(extra_arguments=more)
        guest = start_side(stack, scenario.replace(qemu=qemu), folder, "source")
        check_version(scenario, guest.qmp)
        wait_ready(guest, ready_timeout_s)
        settle(scenario.settle_s, guest)
        yield free
