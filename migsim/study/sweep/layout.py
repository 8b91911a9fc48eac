"""The order of a sweep's cells (a grid over the axes, or a Sobol sequence), their pieces, and their memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError
from migsim.memory import usable_bytes
from migsim.results.figures import FIGURES
from migsim.study.sweep.axis import Axis
from migsim.study.sweep.cells import CellValues
from migsim.units import format_bytes

__all__ = ["Layout", "check_memory"]

SMALLEST, LARGEST = 8, 32_768
"""Bounds on the simulated migrations (cells times draws) of a piece."""
PIECES = 32
"""Number of pieces within these bounds. A sweep that is killed loses at most one piece per process."""
MEMORY_COPIES = 3
"""Copies of the cells that are in memory at once while the dataset is assembled."""


@dataclass(frozen=True)
class Layout:
    """The cells of a sweep, in order.

    Attributes
    ----------
    axes : tuple of Axis
    samples : int, optional
        Number of points of a scrambled Sobol sequence; None for every combination of the axes' values.
    seed : int
        Seed of the scrambling.
    """

    axes: tuple[Axis, ...]
    samples: int | None = None
    seed: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid, or (samples,)."""
        return tuple(axis.count for axis in self.axes) if self.samples is None else (self.samples,)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    def pieces(self, draws: int) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each piece.

        They depend on the number of cells and draws alone, so that a resumed sweep finds its stored pieces.

        Examples
        --------
        >>> list(Layout((Axis("load", "1", "guest", (0.5, 1.0), count=2),)).pieces(draws=0))
        [(0, 2)]
        """
        runs = max(draws, 1)
        size = min(max(self.cells * runs // PIECES, SMALLEST), LARGEST)
        step = max(size // runs, 1)
        for begin in range(0, self.cells, step):
            yield begin, min(begin + step, self.cells)

    def columns(self, begin: int, end: int) -> CellValues:
        """Return the axes' values in the cells from `begin` to `end`, in C order."""
        if self.samples is not None:
            return {
                axis.name: axis.at(points)
                for axis, points in zip(self.axes, self._sequence[begin:end].T, strict=True)
            }
        places = np.unravel_index(np.arange(begin, end), self.shape)
        return {axis.name: axis.values[place] for axis, place in zip(self.axes, places, strict=True)}

    @cached_property
    def _sequence(self) -> NDArray[np.float64]:
        from scipy.stats import qmc

        points = self.samples or 1
        sequence = qmc.Sobol(len(self.axes), rng=np.random.default_rng(self.seed))
        exponent = max(math.ceil(math.log2(points)), 0)  # scipy warns unless it draws a power of two
        return np.asarray(sequence.random_base2(exponent))[:points]


def check_memory(layout: Layout, draws: int) -> None:
    """Raise where the cells need more memory than is free, before any of it is allocated.

    Raises
    ------
    ParameterError
    """
    columns = len(layout.axes) + len(FIGURES) * (3 if draws > 1 else 1) + 2
    needed, free = layout.cells * columns * 8 * MEMORY_COPIES, usable_bytes()
    if needed <= free:
        return
    shape = " x ".join(f"{axis.name}: {axis.count:,}" for axis in layout.axes)
    counted = shape if layout.samples is None else f"--samples {layout.samples:,}"
    fit = free // (columns * 8 * MEMORY_COPIES)
    raise ParameterError(
        f"The sweep has {layout.cells:,} cells ({counted}), which need {format_bytes(needed)}.",
        f"All cells are in memory at once, and {format_bytes(free)} are free.",
        f"Ask for at most {fit:,} cells: fewer values per axis, a part of the range at a time, or --samples N.",
    )
