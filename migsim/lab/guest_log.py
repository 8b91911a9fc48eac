"""A guest's serial log: read, stamped with times, and waited for (ready, still working, memory compared).

Our own guest and a Linux guest report the same events in different lines; `log_of` reads both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from migsim.errors import GuestError
from migsim.lab.guest.serial import SerialLog, parse_serial
from migsim.lab.linux_log import LinuxLog, parse_linux
from migsim.lab.qemu import QemuProcess

__all__ = ["SerialWatch", "log_of", "wait_progress", "wait_ready"]

_POLL_S = 0.05
_CONSOLE_LINES = 100

GuestLog = SerialLog | LinuxLog


class SerialWatch:
    """Notes when each line of some guests' serial logs was first read.

    Parameters
    ----------
    *guests : QemuProcess
        Guests whose serial logs are read.
    """

    def __init__(self, *guests: QemuProcess) -> None:
        self._guests = guests
        self._stamps: dict[str, list[float]] = {guest.role: [] for guest in guests}
        self.stamp_new_lines(first=True)

    def stamp_new_lines(self, *, first: bool = False) -> None:
        """Give the lines since the last call the present time; the lines of the first call have none."""
        now = math.nan if first else time.time()
        for guest in self._guests:
            stamps = self._stamps[guest.role]
            stamps += [now] * (guest.serial_text().count("\n") - len(stamps))

    def lines(self, began: float) -> list[dict[str, Any]]:
        """Return every line: ``side``, ``line``, and ``t_s`` (since `began`) where its time is known.

        A last line without its end is marked ``cut``. Lines of a kernel's console have ``port`` "console".
        """
        rows: list[dict[str, Any]] = []
        for guest in self._guests:
            stamps = self._stamps[guest.role]
            lines = guest.serial_text().replace("\r", "").split("\n")
            for index, line in enumerate(lines):
                stamp = stamps[index] if index < len(stamps) else math.nan
                when = {} if math.isnan(stamp) else {"t_s": round(stamp - began, 3)}
                cut = {"cut": True} if index == len(lines) - 1 else {}
                rows += [{"side": guest.role, "line": line} | when | cut] if line else []
            console = [line for line in guest.console_text().replace("\r", "").split("\n") if line.strip()]
            last_lines = console[-_CONSOLE_LINES:]
            rows += [{"side": guest.role, "line": line, "port": "console"} for line in last_lines]
        return rows


def log_of(guest: QemuProcess) -> GuestLog:
    """Return the guest's serial log so far."""
    if guest.console_path is not None:
        return parse_linux(guest.serial_text(), guest.console_text())
    return parse_serial(guest.serial_text())


def wait_ready(guest: QemuProcess, deadline_s: float) -> None:
    """Wait until the guest reports that it has filled its memory and begun its workload.

    Raises
    ------
    GuestError
        Where the guest has halted, or is not ready in time; quotes its last lines.
    QemuError
        Where its QEMU dies.
    """

    def ready(log: GuestLog) -> bool:
        log.raise_for_fault()
        return log.ready is not None

    if _until(ready, guest, deadline_s):
        return
    lines = (guest.console_text() + guest.serial_text()).splitlines()
    raise GuestError(
        f"The guest was not ready after {deadline_s:g} s; its last lines: {' | '.join(lines[-3:]) or '(nothing)'}.",
        "A guest says that it is ready on its serial port when it has filled its memory.",
        "Give it more time (--ready-timeout) or less to fill, or check that the image boots on this QEMU.",
    )


def wait_progress(
    guest: QemuProcess, *, lines: int, passes: int, deadline_s: float, serial_watch: SerialWatch | None = None
) -> bool:
    """Return whether the guest works on: `lines` more progress lines, and `passes` more checks of all its pages.

    The wait ends at once where the guest reports damaged memory. `serial_watch`, where given, stamps the lines.
    """
    before = log_of(guest)

    def done(log: GuestLog) -> bool:
        if serial_watch is not None:
            serial_watch.stamp_new_lines()
        compared = len(log.passes) - len(before.passes)
        return bool(log.failed) or (len(log.progress) - len(before.progress) >= lines and compared >= passes)

    return _until(done, guest, deadline_s)


def _until(condition: Callable[[GuestLog], bool], guest: QemuProcess, deadline_s: float) -> bool:
    deadline = time.monotonic() + deadline_s
    while not condition(log_of(guest)):
        guest.check_alive()
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
