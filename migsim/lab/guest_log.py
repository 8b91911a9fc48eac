"""Waiting for what the guest says on its serial port: ready, still working, memory compared."""

from __future__ import annotations

import time
from collections.abc import Callable

from migsim.errors import GuestError
from migsim.lab.guest.serial import SerialLog, parse_serial
from migsim.lab.qemu import QemuProcess

__all__ = ["log_of", "wait_progress", "wait_ready"]

_POLL_S = 0.05


def log_of(guest: QemuProcess) -> SerialLog:
    """Return what the guest has said so far."""
    return parse_serial(guest.serial_text())


def wait_ready(guest: QemuProcess, deadline_s: float) -> None:
    """Wait until the guest has filled its memory and works.

    Raises
    ------
    GuestError
        When it has halted, or is not ready in time; quotes what it has said so far.
    QemuError
        When its QEMU dies.
    """

    def ready(log: SerialLog) -> bool:
        log.raise_for_fault()
        return log.ready is not None

    if _until(ready, guest, deadline_s):
        return
    said = guest.serial_text().splitlines()
    raise GuestError(
        f"The guest was not ready after {deadline_s:g} s; it said: {' | '.join(said[-3:]) or '(nothing)'}.",
        "Our guest says that it is ready on its serial port when it has filled its memory.",
        "Give it more time or fewer touched pages, or check that the image boots on this QEMU.",
    )


def wait_progress(guest: QemuProcess, *, lines: int, passes: int, deadline_s: float) -> bool:
    """Return whether the guest went on: `lines` progress lines, and `passes` comparisons of all its pages.

    Found damage ends the wait at once.
    """
    before = log_of(guest)

    def done(log: SerialLog) -> bool:
        compared = len(log.passes) - len(before.passes)
        return bool(log.failed) or (len(log.progress) - len(before.progress) >= lines and compared >= passes)

    return _until(done, guest, deadline_s)


def _until(condition: Callable[[SerialLog], bool], guest: QemuProcess, deadline_s: float) -> bool:
    deadline = time.monotonic() + deadline_s
    while not condition(log_of(guest)):
        guest.check_alive()
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
