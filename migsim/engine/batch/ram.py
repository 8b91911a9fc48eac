"""Records of a guest's RAM in the batch engine: segments, and the parts that share their chances of being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.records import Floats, record_type
from migsim.engine.segments import Extent

__all__ = [
    "DATA_PART",
    "EXTENT",
    "NEVER",
    "PART",
    "STRETCH",
    "ZERO_PART",
    "Ints",
    "Memory",
    "Part",
    "Stretch",
]

Ints = NDArray[np.int64]

NEVER = -1.0
"""Clearing time of a chunk that was not cleared since the last sync."""

DATA_PART, ZERO_PART = -1, -2
"""Part numbers of segments that are never written: their pages hold data, or are zero."""


class Part(Protocol):
    """The segments of one class in one chunk, which share their chances; a sweep's segments are parts of their own."""

    of_class: int
    chunk: int
    sweeps: int
    pages: float
    unsent: float
    sent: float
    since_sync: float  # chance that a page was written since the last sync
    since_clear: float  # and since its chunk was cleared
    clearing: float  # when that was, as a fraction of the time between the two syncs
    offset: float  # place in the class's sweep, in cycles
    length: float


class Stretch(Protocol):
    """Segments side by side that belong to one part: from `begin` to before `end`."""

    begin: int
    end: int
    part: int


EXTENT, PART, STRETCH = record_type(Extent), record_type(Part), record_type(Stretch)


class Memory(NamedTuple):
    """A guest's RAM in segments of ascending addresses, and what is dirty of it.

    Attributes
    ----------
    first_page, pages : ndarray
        Where each segment begins, and how many pages it holds.
    data, before : ndarray
        Its pages that are not zero, and how many such pages lie before it.
    chunk, extent, part : ndarray of int
        The numbers of its chunk, its extent and its part (or `DATA_PART`, `ZERO_PART`).
    block_end : ndarray of int
        Where the few segments of its chunk end that are looked at together with it.
    unsent : ndarray
        Pages that are dirty and not sent.
    sent, last_sent : ndarray
        Pages sent since the last sync, and between that sync and the one before.
    first, fresh : ndarray
        Of the unsent pages those that were never sent, and of these the ones whose memory the destination has yet to
        find.
    parts, stretches : sequence of Part, sequence of Stretch
    cleared : ndarray
        When each chunk was cleared, or `NEVER`.
    rates : ndarray
        Write rate of each class.
    opened : ndarray of int
        The part of each class that was begun last, while the guest is laid out.
    """

    first_page: Floats
    pages: Floats
    data: Floats
    before: Floats
    chunk: Ints
    extent: Ints
    part: Ints
    block_end: Ints
    unsent: Floats
    sent: Floats
    last_sent: Floats
    first: Floats
    fresh: Floats
    parts: Sequence[Part]
    stretches: Sequence[Stretch]
    cleared: Floats
    rates: Floats
    opened: Ints
