"""The processors that the two sides of a migration run on: chosen, checked, and given to QEMU's threads.

Two hosts share no processor. On one machine the scheduler may put both sides on one, and a page of the last flush then
costs the sum of sending and receiving it; on a core each it costs the larger of the two. So each side gets cores of
its own. A thread that QEMU starts later, as the migration thread, is allowed what the thread is that starts it.

A side's vCPUs stay with its other threads. With one core a side, a busy vCPU and the migration thread share it. Where
the vCPU may run on the other side's core too, the guest loses more, and more differently from run to run.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from migsim.errors import HostError, ParameterError

if TYPE_CHECKING:
    from migsim.lab.qemu import QemuProcess

__all__ = ["AUTO", "Cores"]

AUTO = "auto"
"""The half of the process's cores with the lower numbers for the source, the other half for the destination."""

_FORM = "Cores are SOURCE:DESTINATION, each side numbers and ranges of numbers with commas."
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_MOST = 4096


@dataclass(frozen=True)
class Cores:
    """The cores of each side.

    Attributes
    ----------
    source, destination : tuple of int
        Numbers of processors, as Linux counts them; no number is in both.

    Examples
    --------
    >>> Cores.parse("0-1:2,3", allowed={0, 1, 2, 3})
    Cores(source=(0, 1), destination=(2, 3))
    """

    source: tuple[int, ...]
    destination: tuple[int, ...]

    @classmethod
    def parse(cls, text: str, *, allowed: Collection[int] | None = None) -> Self:
        """Read ``auto`` or ``SOURCE:DESTINATION``.

        Parameters
        ----------
        text : str
        allowed : collection of int, optional
            Cores that there are; by default those that this process may run on.

        Raises
        ------
        ParameterError
            Where the text is of another form, or both sides share a core.
        HostError
            Where there are fewer than two cores, or one that is named is not among them.
        """
        there = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
        if len(there) < 2:
            raise HostError(
                f"This process may run on {len(there)} core{'' if len(there) == 1 else 's'} ({_list(there)}).",
                "Source and destination are pinned to cores of their own, so that takes two.",
                "Leave --pin out, or use a machine with more processors.",
            )
        if text.strip() == AUTO:
            half = len(there) // 2
            return cls(tuple(there[:half]), tuple(there[half:]))
        sides = text.split(":")
        if len(sides) != 2:
            raise ParameterError(
                f"The cores are {text!r}.", _FORM, f"Write them like 0:1 or 0-3:4-7, or {AUTO}."
            )
        source, destination = (_numbers(side, text) for side in sides)
        if shared := sorted({*source} & {*destination}):
            raise ParameterError(
                f"The cores {text!r} give core {shared[0]} to both sides.",
                "Two hosts share no processor.",
                "Give each side cores of its own, as 0:1.",
            )
        if missing := sorted({*source, *destination} - {*there}):
            raise HostError(
                f"The cores {text!r} name core {missing[0]}.",
                f"This process may run on {_list(there)}.",
                "Name cores among these.",
            )
        return cls(source, destination)

    def pin(self, side: QemuProcess) -> None:
        """Pin all threads of a side that has not begun to migrate."""
        own = self.source if side.role == "source" else self.destination
        for folder in Path(f"/proc/{side.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread of a pool may have ended
                os.sched_setaffinity(int(folder.name), own)

    def as_dict(self) -> dict[str, list[int]]:
        """Return the cores as plain data, for a record."""
        return {"source": list(self.source), "destination": list(self.destination)}


def _numbers(side: str, text: str) -> tuple[int, ...]:
    """Return the numbers of one side, sorted."""
    found: set[int] = set()
    for piece in side.split(","):
        match = _RANGE.fullmatch(piece.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _MOST:
            raise ParameterError(
                f"The cores {text!r} hold {piece!r}.", _FORM, f"Write them like 0:1 or 0-3:4-7, or {AUTO}."
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _list(numbers: Collection[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
