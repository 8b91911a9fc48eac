"""What the guest says on its serial port, as far as the lab needs it: ready, still running, memory damaged.

Our guest prefixes its lines with ``migsim-guest``; ``ready`` comes once, then a report every `report_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from migsim.errors import GuestError
from migsim.lab.qemu import QemuProcess

__all__ = ["PREFIX", "damage", "reports", "wait_for_report", "wait_ready"]

PREFIX = "migsim-guest"
_POLL_S = 0.05


def reports(lines: Sequence[str]) -> list[str]:
    """Return the guest's own lines."""
    return [line for line in lines if line.startswith(PREFIX)]


def damage(lines: Sequence[str]) -> str:
    """Return the guest's first line that tells of a page that does not hold what was written, "" for none.

    Examples
    --------
    >>> damage(["migsim-guest ready t_us=0", "migsim-guest check FAILED page=17 expected=0x1 got=0x2"])
    'migsim-guest check FAILED page=17 expected=0x1 got=0x2'
    """
    marks = (f"{PREFIX} check FAILED", f"{PREFIX} error")
    return next((line for line in lines if line.startswith(marks)), "")


def wait_ready(guest: QemuProcess, deadline_s: float) -> None:
    """Wait until the guest has filled its memory and works.

    Raises
    ------
    GuestError
        When it is not ready in time; quotes what it has said so far.
    QemuError
        When its QEMU dies.
    """

    def ready() -> bool:
        return any(line.startswith(f"{PREFIX} ready") for line in guest.serial_lines())

    if _until(ready, guest, deadline_s):
        return
    said = guest.serial_lines()
    raise GuestError(
        f"The guest was not ready after {deadline_s:g} s; it said: {' | '.join(said[-3:]) or '(nothing)'}.",
        f"Our guest writes '{PREFIX} ready' on its serial port when its memory is filled.",
        "Give it more time or fewer touched pages, or check that the image boots on this QEMU.",
    )


def wait_for_report(guest: QemuProcess, count: int, deadline_s: float) -> bool:
    """Return whether the guest wrote `count` further lines before the deadline."""
    before = len(reports(guest.serial_lines()))
    return _until(lambda: len(reports(guest.serial_lines())) >= before + count, guest, deadline_s)


def _until(condition: Callable[[], bool], guest: QemuProcess, deadline_s: float) -> bool:
    deadline = time.monotonic() + deadline_s
    while not condition():
        guest.check_alive()
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
