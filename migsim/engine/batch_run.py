"""Cells of one kind, run by the compiled loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch_cells import Columns, cells_of, kind_of
from migsim.engine.batch_compile import compiled_run
from migsim.engine.batch_ended import figures_of, reason_of
from migsim.engine.batch_state import ENDED, STATE, SYNC, dirty_of, ram_of
from migsim.engine.segments import cut

__all__ = ["Run"]

ROOM = 4096
"""Syncs that there is room for at first."""


class Run:
    """A group of cells, before and after it ran.

    Parameters
    ----------
    columns : Columns
    count : int
        Cells.
    """

    def __init__(self, columns: Columns, count: int) -> None:
        self.columns = columns
        self.cells = cells_of(columns, count)
        self.ended = np.zeros(count, ENDED)

    def go(self, seeds: Sequence[int | None] | None = None) -> None:
        """Run every cell; those with a seed draw their dirty counts."""
        if seeds is None or all(seed is None for seed in seeds):
            self._loop(slice(None), None)
            return
        for k, seed in enumerate(seeds):
            self._loop(slice(k, k + 1), seed)

    def _loop(self, which: slice, seed: int | None) -> None:
        workload = self.columns.what.workload
        if not hasattr(self, "_ram"):
            written = np.array([c.writes_per_page_per_s > 0 for c in workload.classes], bool)
            self._ram = ram_of(cut(workload), written)
            self._dirty, self._state = dirty_of(self._ram), np.zeros(1, STATE)
            self._kind = kind_of(self.columns.what)
        cells, ended = self.cells[which], self.ended[which]
        done, room = 0, ROOM
        while done < len(cells):
            rng = None if seed is None else np.random.default_rng(seed)
            if rng is not None:
                cells["guest_s"] = rng.uniform(0.0, 1000.0)
            notes = np.empty((room, SYNC)), np.empty(room), np.zeros(room + 1)
            done = compiled_run()(
                self._ram,
                self._dirty,
                self._state,
                cells,
                self.columns.rates,
                self._kind,
                *notes,
                ended,
                done,
                rng,
            )
            room *= 4

    def figures(self) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float64]]]:
        """Whether each cell completed, and its figures by the names of `batch_result.COLUMNS`."""
        return figures_of(self.ended, self.cells, self.columns)

    def reason(self, k: int) -> str:
        """Why cell `k` ended as it did."""
        return reason_of(self.ended, self.cells, self.columns, k)
