"""Input and answer of every rival."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PAGE_BYTES", "RivalInputs", "RivalPrediction"]

PAGE_BYTES = 4096


@dataclass(frozen=True)
class RivalInputs:
    """A guest and its migration settings, as input of the rivals.

    Parameters
    ----------
    ram_bytes : int
        The guest's memory.
    nonzero_pages, zero_pages : float
        Pages of 4096 bytes that hold data, and pages of zeros; floats, because they may come from a sample.
    window_s : sequence of float
        Window lengths of the unique-dirty curve: at least two, ascending.
    dirty_pages : sequence of float
        Unique pages dirtied within each window.
    max_bandwidth_bytes_per_s : float
    downtime_limit_ms : float
        May be infinite.

    Raises
    ------
    ValueError
        When the curve has fewer than two points or its windows do not ascend from above zero, or a size is
        not positive.
    """

    ram_bytes: int
    nonzero_pages: float
    zero_pages: float
    window_s: Sequence[float]
    dirty_pages: Sequence[float]
    max_bandwidth_bytes_per_s: float
    downtime_limit_ms: float

    def __post_init__(self) -> None:
        windows, dirty = list(self.window_s), list(self.dirty_pages)
        if len(windows) != len(dirty) or len(windows) < 2:
            raise ValueError(
                f"a curve needs two points or more, got {len(windows)} windows, {len(dirty)} counts"
            )
        if windows[0] <= 0 or any(b <= a for a, b in itertools.pairwise(windows)):
            raise ValueError(f"windows must ascend from above zero, got {windows}")
        if min(dirty) < 0 or self.nonzero_pages < 0 or self.zero_pages < 0:
            raise ValueError("page counts cannot be negative")
        if not (self.ram_bytes > 0 and self.max_bandwidth_bytes_per_s > 0 and self.downtime_limit_ms >= 0):
            raise ValueError("memory and bandwidth must be above zero, the downtime limit not below")


@dataclass(frozen=True)
class RivalPrediction:
    """Answer of a rival; None for what it does not answer, and for all figures when `converges` is False.

    Parameters
    ----------
    total_time_ms, downtime_ms, transferred_bytes : float or None
    rounds : int or None
        Passes over memory, including the one with the guest stopped.
    converges : bool or None
    """

    total_time_ms: float | None = None
    downtime_ms: float | None = None
    transferred_bytes: float | None = None
    rounds: int | None = None
    converges: bool | None = None
