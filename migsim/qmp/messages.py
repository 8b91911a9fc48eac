"""Messages of QEMU's monitor: events, and the refusal of a command."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migsim.errors import QmpError

__all__ = ["QmpCommandError", "QmpEvent"]

_LATEST_S = 1 << 40


class QmpCommandError(QmpError):
    """QEMU understood a command and refused it.

    Attributes
    ----------
    command : str
        The refused command.
    error_class : str
        QMP's error class, such as ``CommandNotFound`` or ``GenericError``.
    description : str
        QEMU's error text.
    """

    def __init__(self, command: str, error_class: str, description: str) -> None:
        self.command = command
        self.error_class = error_class
        self.description = description
        super().__init__(
            f"QEMU refused {command}: {description.rstrip('.')}.",
            f"QMP's error class is {error_class}.",
            "Check the command's arguments, and that this QEMU version takes them.",
        )


@dataclass(frozen=True, slots=True)
class QmpEvent:
    """One event of QEMU.

    Attributes
    ----------
    name : str
        The event's name, such as ``STOP`` or ``MIGRATION_PASS``.
    data : dict
        The event's data.
    seconds : float
        QEMU's time stamp: host clock, seconds since 1970.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> QmpEvent:
        """Read an event from a QMP message; what is missing or invalid is left out, a time is the current one.

        Examples
        --------
        >>> QmpEvent.from_message({"event": "STOP", "timestamp": {"seconds": 3, "microseconds": 500000}})
        QmpEvent(name='STOP', data={}, seconds=3.5)
        """
        stamp, name, data = message.get("timestamp"), message.get("event"), message.get("data")
        seconds = time.time()
        if isinstance(stamp, Mapping):
            whole, part = stamp.get("seconds"), stamp.get("microseconds", 0)
            if type(whole) is int and type(part) is int and 0 <= whole < _LATEST_S and 0 <= part < 1_000_000:
                seconds = whole + part / 1e6
        return cls(
            name if isinstance(name, str) else "", dict(data) if isinstance(data, Mapping) else {}, seconds
        )
