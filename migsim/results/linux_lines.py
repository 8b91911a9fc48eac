r"""Parser for the lines that a Linux guest of the lab writes to its second serial port.

::

    migsim-linux boot version=1 kernel=6.1.0-41-cloud-amd64
    migsim-linux ready clock_us=41000000 workload=order-entry users=75 shared_buffers_bytes=429496729 \
        data_bytes=500000000 think_us=1000000
    migsim-linux work clock_us=42000000 browse-products=31:420000 order-products=9:180000 busy_us=310000
    migsim-linux error the database does not answer

``clock_us`` is the guest's ``CLOCK_MONOTONIC``, which does not advance while the machine is stopped. A ``work`` line
gives, for each operation, the number completed since ``ready`` and the sum of their latencies in microseconds.
``busy_us`` is the processor time that the guest used since ``ready``. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "LinuxBoot",
    "LinuxFault",
    "LinuxReady",
    "LinuxWork",
    "OperationTotal",
    "parse_linux_line",
    "parse_linux_lines",
]

_PREFIX = "migsim-linux "
_NUMBER = re.compile(r"[0-9]{1,18}")
_TOTAL = re.compile(r"([0-9]{1,18}):([0-9]{1,18})")
_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class LinuxBoot:
    """The kernel has booted, and the guest's programs start."""

    version: int
    kernel: str


@dataclass(frozen=True)
class LinuxReady:
    """The workload is warmed up, and its users start; `clock_us` is the guest's clock."""

    clock_us: int
    workload: str
    users: int = 0
    shared_buffers_bytes: int = 0
    data_bytes: int = 0
    think_us: int = 0


@dataclass(frozen=True)
class OperationTotal:
    """The number of completed executions of one operation since ready, and the sum of their latencies."""

    completed: int
    latency_us: int


@dataclass(frozen=True)
class LinuxWork:
    """Counters since ready, at guest time `clock_us`; `busy_us` is None where the line does not have it."""

    clock_us: int
    operations: dict[str, OperationTotal] = field(default_factory=dict)
    busy_us: int | None = None


@dataclass(frozen=True)
class LinuxFault:
    """The guest's message that something in it failed."""

    message: str


LinuxLine = LinuxBoot | LinuxReady | LinuxWork | LinuxFault


def parse_linux_line(line: str) -> LinuxLine | None:
    """Parse one line; None for anything that is not a complete line of a known kind.

    Examples
    --------
    >>> parse_linux_line("migsim-linux work clock_us=42 read=3:900 busy_us=7").operations["read"]
    OperationTotal(completed=3, latency_us=900)
    >>> parse_linux_line("migsim-linux work clock_us=") is None
    True
    """
    line = line.strip()
    if not line.startswith(_PREFIX):
        return None
    kind, _, rest = line[len(_PREFIX) :].partition(" ")
    rest = rest.strip()
    if kind == "error":
        return LinuxFault(rest or "no reason given")
    values = dict(word.split("=", 1) for word in rest.split() if "=" in word)
    if kind == "boot":
        return LinuxBoot(_integer(values, "version") or 0, values.get("kernel", ""))
    clock_us = _integer(values, "clock_us")
    if clock_us is None:
        return None
    if kind == "ready" and "workload" in values:
        names = ("users", "shared_buffers_bytes", "data_bytes", "think_us")
        numbers = {name: _integer(values, name) or 0 for name in names}
        return LinuxReady(clock_us, values["workload"], **numbers)
    if kind == "work":
        return LinuxWork(clock_us, _operations(values), _integer(values, "busy_us"))
    return None


def parse_linux_lines(text: str) -> list[LinuxLine]:
    r"""Parse the lines of a serial log, which may also hold other lines.

    A last line without a line end is left out, because its numbers may be cut off.

    Examples
    --------
    >>> parse_linux_lines("login:\nmigsim-linux error out of disk\nmigsim-linux work clo")
    [LinuxFault(message='out of disk')]
    """
    lines: Iterable[str] = text.replace("\r", "").split("\n")[:-1]
    return [parsed for line in lines if (parsed := parse_linux_line(line)) is not None]


def _integer(values: dict[str, str], name: str) -> int | None:
    text = values.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) else None


def _operations(values: dict[str, str]) -> dict[str, OperationTotal]:
    matches = ((name, _TOTAL.fullmatch(text)) for name, text in values.items() if _NAME.fullmatch(name))
    return {name: OperationTotal(int(match[1]), int(match[2])) for name, match in matches if match}
