r"""What a write does to the contents of its page.

Law
---
A write fills b bytes at one of S places of the page, evenly spaced; a byte written keeps its old value with some
chance c, 1/256 for random data that have nothing to do with the old.

Our guest's data are the states of a multiplicative generator modulo :math:`2^{64}`. The low two bits of these never
change, so that first bytes agree once in 64 times. Where a random write goes is the state's high bits: data of two
writes to one place lie in one interval of :math:`2^{64} b / \text{span}`. In a byte of weight :math:`256^k`, with f
such intervals of :math:`256^k`, two of them agree with

.. math:: c = 1 - f/3 \quad (f < 1) \qquad c = 1/f - 1/(3 f^2) \quad (f \geq 1)

Mirrors: the guest of `migsim.lab.guest` (writes.S: ``content = "bytes"``, ``random`` and ``sweep``).
Leaves out: Zipf's places (more high bits are in the place), and what the page was filled with.
Source: two points of an interval; tests follow the generator store by store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from migsim.errors import ParameterError
from migsim.units import PAGE_BYTES

__all__ = ["PageWrites", "guest_writes"]


@dataclass(frozen=True, slots=True)
class PageWrites:
    """What a write does to its page.

    Parameters
    ----------
    bytes_a_write : int
    places : int
        Number of offsets at which a write may begin, evenly spaced from the page's start. A write that would pass the
        page's end begins earlier.
    same_fraction : float
        Chance that a written byte has its old value.
    same_by_byte : tuple of float
        That chance for each byte of a word, where the bytes differ; words are aligned to the page.
    in_order : bool
        Whether a write to a page begins at the place after that of the last write, or at a random one.

    Raises
    ------
    ParameterError
        For more bytes or places than a page has.
    """

    bytes_a_write: int
    places: int = 512
    same_fraction: float = 1 / 256
    same_by_byte: tuple[float, ...] = ()
    in_order: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bytes_a_write <= PAGE_BYTES or self.places < 1 or PAGE_BYTES % self.places:
            raise ParameterError(
                f"Writes of {self.bytes_a_write} bytes at {self.places} places of a page.",
                f"A page has {PAGE_BYTES} bytes, and places divide it evenly.",
                "Give 1 to 4096 bytes, and a power of two of places.",
            )

    @property
    def step(self) -> int:
        """Bytes from one place to the next."""
        return PAGE_BYTES // self.places

    @property
    def change_fractions(self) -> npt.NDArray[np.float64]:
        """Chance that a written byte changes, for each byte of the page."""
        return 1 - np.resize(np.array(self.same_by_byte or (self.same_fraction,)), PAGE_BYTES)


def guest_writes(
    changed_bytes: int, *, in_order: bool = False, span_pages: int | None = None, rewritten: float = 1.0
) -> PageWrites:
    """Return the writes of our guest's ``content = "bytes"``; its sweeps write `in_order`.

    Stores of 2, 4 and 8 bytes go to aligned places, single bytes to any byte, all others to multiples of 8.

    Parameters
    ----------
    changed_bytes : int
    in_order : bool
        Whether a sweep writes.
    span_pages : int, optional
        Number of pages over which the writes are spread evenly; without it the data do not depend on the place.
    rewritten : float
        Fraction of places that hold the data of an earlier write.

    Examples
    --------
    >>> guest_writes(4).places, guest_writes(100).places
    (1024, 512)
    >>> [round(same, 3) for same in guest_writes(8, span_pages=200).same_by_byte]
    [0.016, 0.004, 0.004, 0.004, 0.004, 0.006, 0.787, 0.999]
    """
    aligned = changed_bytes in (1, 2, 4) and not in_order
    step = changed_bytes if aligned else 8
    same = [1 / 64] + [1 / 256] * (step - 1)
    if span_pages and not in_order:
        interval = 2.0**64 * max(changed_bytes - changed_bytes % step, step) / (span_pages * PAGE_BYTES)
        over_writes = [max(old, _same_byte(interval / 256.0**byte)) for byte, old in enumerate(same)]
        same = [rewritten * new + (1 - rewritten) * old for new, old in zip(over_writes, same, strict=True)]
    return PageWrites(changed_bytes, PAGE_BYTES // step, same_by_byte=tuple(same), in_order=in_order)


def _same_byte(interval: float) -> float:
    """Return the chance that two numbers of an interval agree in a byte; the interval is in units of that byte."""
    return 1 - interval / 3 if interval < 1 else 1 / interval - 1 / (3 * interval**2)
