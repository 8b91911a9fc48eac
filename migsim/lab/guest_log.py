"""Waiting for what the guest says on its serial port: ready, still working, memory compared."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from migsim.errors import GuestError
from migsim.lab.guest.serial import SerialLog, parse_serial
from migsim.lab.qemu import QemuProcess

__all__ = ["Hearing", "log_of", "wait_progress", "wait_ready"]

_POLL_S = 0.05


class Hearing:
    """Notes when the lines on some guests' serial ports were first seen.

    Parameters
    ----------
    *guests : QemuProcess
        Whose ports are looked at.
    """

    def __init__(self, *guests: QemuProcess) -> None:
        self._guests = guests
        self._seen: dict[str, list[float]] = {guest.role: [] for guest in guests}
        self.listen(first=True)

    def listen(self, *, first: bool = False) -> None:
        """Stamp the lines that have come since the last look; those of the first look have no time."""
        now = math.nan if first else time.time()
        for guest in self._guests:
            stamps = self._seen[guest.role]
            stamps += [now] * (guest.serial_text().count("\n") - len(stamps))

    def lines(self, began: float) -> list[dict[str, Any]]:
        """Return every line: ``side``, ``line``, and ``t_s`` (since `began`) where it was seen to come."""
        rows: list[dict[str, Any]] = []
        for guest in self._guests:
            stamps = self._seen[guest.role]
            for index, line in enumerate(guest.serial_text().split("\n")):
                stamp = stamps[index] if index < len(stamps) else math.nan
                when = {} if math.isnan(stamp) else {"t_s": round(stamp - began, 3)}
                rows += [{"side": guest.role, "line": line} | when] if line else []
        return rows


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


def wait_progress(
    guest: QemuProcess, *, lines: int, passes: int, deadline_s: float, hearing: Hearing | None = None
) -> bool:
    """Return whether the guest went on: `lines` progress lines, and `passes` comparisons of all its pages.

    Found damage ends the wait at once. `hearing`, where given, stamps what comes.
    """
    before = log_of(guest)

    def done(log: SerialLog) -> bool:
        if hearing is not None:
            hearing.listen()
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
