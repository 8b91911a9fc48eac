"""Finds the rows of page records of one size: many short runs of normal and zero pages at once.

A record that goes on in the block before it has a fixed size: 8-byte word and 4096 bytes for a normal page,
8-byte word and one byte for a zero page. So runs begin where the one before ends, and only the lengths of runs are
to be found: short ones byte by byte, long ones by a strided view. The words of all runs are then read in one go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from migsim.tracer.stream_sink import PAGE_BYTES

__all__ = ["NORMAL", "ZERO", "Runs", "find_rows"]

NORMAL, ZERO = 0x28, 0x22
"""The flags of the word, below 4096: PAGE or ZERO, and CONTINUE."""

_SHORT = 24  # records looked at one by one before a view pays
_FIRST_WINDOW, _LAST_WINDOW = 64, 8192  # records looked at together: grows while a run goes on


@dataclass(slots=True)
class Runs:
    """Runs of records of one kind: position of each one's first record, and how many follow each other.

    Examples
    --------
    >>> Runs(9, [100, 300], [2, 1]).positions()
    array([100, 109, 300])
    >>> Runs(9, [100], [2]).positions()
    slice(100, 118, 9)
    """

    record: int
    first: list[int] = field(default_factory=list)
    count: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.first)

    def positions(self) -> slice | npt.NDArray[np.int64]:
        """Index of all the records' positions: a slice where there is one run, which reads faster."""
        if len(self.first) == 1:
            first = self.first[0]
            return slice(first, first + self.count[0] * self.record, self.record)
        firsts, counts = np.array(self.first), np.array(self.count)
        ends = counts.cumsum()
        places = np.arange(0, int(ends[-1]) * self.record, self.record)
        places += (firsts - (ends - counts) * self.record).repeat(counts)
        return places


def find_rows(data: bytearray, begin: int, end: int) -> tuple[Runs, Runs, int]:
    """Take runs of normal and of zero pages from `begin` on, and say where the last of them ends.

    They go up to the first record of another kind, or not whole before `end`.
    """
    normal, zero = Runs(8 + PAGE_BYTES), Runs(9)
    kinds = ((normal, normal.record, NORMAL), (zero, zero.record, ZERO))
    at, before = begin, -1
    while at != before:
        before = at
        for runs, record, flags in kinds:
            first, stop = at, min(end - record, at + (_SHORT - 1) * record)
            # The last byte of a word and the lower half of the one before hold the flags.
            while at <= stop and data[at + 7] == flags and not data[at + 6] & 15:
                at += record
            if at != first:
                count = (at - first) // record
                if count == _SHORT:
                    count += _more(data, at, end, record, flags)
                    at = first + count * record
                runs.first.append(first)
                runs.count.append(count)
    return normal, zero, at


def _more(data: bytearray, at: int, end: int, record: int, flags: int) -> int:
    """How many records with `flags` follow each other from `at`."""
    here, window, count = (end - at) // record, _FIRST_WINDOW, 0
    while count < here:
        size = min(window, here - count)
        words = np.ndarray((size,), ">u2", data, at + count * record + 6, (record,))
        other = (words & (PAGE_BYTES - 1)) != flags
        first_other = int(other.argmax())
        if other[first_other]:
            return count + first_other
        count += size
        window = min(4 * window, _LAST_WINDOW)
    return count
