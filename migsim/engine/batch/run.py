"""A group of cells of one kind, run by the compiled loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.cache import Cache, cache_of
from migsim.engine.batch.cells import cells_of, kind_of
from migsim.engine.batch.columns import GroupColumns
from migsim.engine.batch.compile import compiled_run
from migsim.engine.batch.layout import extent_records, memory_of
from migsim.engine.batch.records import (
    ABSENT,
    CELL_FIGURES,
    ENDED,
    REASON,
    STATE,
    SYNC_NOTE,
    Notes,
    empty_records,
)
from migsim.engine.segments import cut, extents_of
from migsim.engine.standstill import deviations, many_rounds, steady_rounds
from migsim.models.throttle.auto_converge import MAX_PERCENTAGE
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.xbzrle.cache import cache_pages

__all__ = ["Run"]

FIRST_ROOM = 256
"""Syncs of one migration for which there is room at first."""


class Run:
    """A group of cells, before and after it was run.

    Parameters
    ----------
    columns : GroupColumns
    count : int
        Number of cells.

    Attributes
    ----------
    reasons : ndarray of `REASON`
        What each cell's reason is told from.
    notes, ended
        Of the cell that ran last: its syncs, and its counters at the end.
    """

    def __init__(self, columns: GroupColumns, count: int) -> None:
        self.columns = columns
        self.cells = cells_of(columns, count)
        self.reasons: NDArray[Any] = empty_records(count, REASON)
        self._figures: NDArray[Any] = empty_records(count, CELL_FIGURES)
        workload = columns.migration.workload
        extents = extents_of(workload)
        self._extents, self._memory = extent_records(extents), memory_of(extents, len(workload.classes))
        self._kind = kind_of(columns.migration)
        # Segments may only be joined while nothing tells them apart: no cache, and the same `fresh_pages` for all.
        fresh = columns.field("fresh_pages")
        some_fresh = bool(np.any((fresh > 0) & (fresh < np.inf)))
        self._keep_apart = columns.migration.has_capability("xbzrle") or some_fresh
        self._caches: dict[int, Cache] = {}
        self.notes: Notes
        self.ended: Any

    def simulate(self, seeds: Sequence[int | None] | None = None) -> None:
        """Run every cell; those with a seed draw their dirty counts."""
        if seeds is None or all(seed is None for seed in seeds):
            self._run_cells(slice(None), None)
            return
        for k, seed in enumerate(seeds):
            self._run_cells(slice(k, k + 1), seed)

    def _run_cells(self, which: slice, seed: int | None) -> None:
        """Run some of the cells, those with one size of XBZRLE's cache after the other."""
        cells, figures, reasons = self.cells[which], self._figures[which], self.reasons[which]
        if not self.columns.migration.has_capability("xbzrle"):
            self._run_compiled(None, cells, figures, reasons, seed)
            return
        for size in np.unique(cells["cache_size"]).tolist():
            at = cells["cache_size"] == size
            figures_here, reasons_here = figures[at], reasons[at]
            self._run_compiled(self._cache(size), cells[at], figures_here, reasons_here, seed)
            figures[at], reasons[at] = figures_here, reasons_here

    def _cache(self, size: int) -> Cache:
        if size not in self._caches:
            migration = self.columns.migration
            slots = cache_pages(size, migration.version)
            self._caches[size] = cache_of(cut(migration.workload), migration.workload, slots)
        return self._caches[size]

    def _run_compiled(
        self,
        cache: Cache | None,
        cells: NDArray[Any],
        figures: NDArray[Any],
        reasons: NDArray[Any],
        seed: int | None,
    ) -> None:
        """Run cells that share a cache; a cell whose syncs find no room is run again with more room."""
        done, room = 0, FIRST_ROOM
        while done < len(cells):
            rng = None if seed is None else np.random.default_rng(seed)
            if rng is not None:
                cells["guest_start_s"] = rng.uniform(0.0, 1000.0)
            self._kind["deviations"] = deviations(rng is not None)
            self._kind["least_deviation"] = (
                0.0 if rng is None else hypot(*self.columns.migration.workload.wandering)
            )
            self._kind["many_rounds"] = many_rounds(rng is not None)
            self._kind["steady_rounds"] = steady_rounds(cache is not None)
            self._kind["keep_apart"] = self._keep_apart or rng is not None
            self.notes = Notes(
                empty_records(room, SYNC_NOTE),
                np.empty(room),
                np.zeros(room + 1),
                np.zeros(MAX_PERCENTAGE + 1),
            )
            self.ended = empty_records(1, ENDED)
            done = compiled_run()(
                self._memory,
                self._extents,
                cache,
                empty_records(1, STATE),
                self._kind,
                _run_fractions(),
                cells,
                self.columns.rates,
                self.notes,
                self.ended,
                figures,
                reasons,
                done,
                rng,
            )
            room *= 4

    def figures(self) -> NDArray[np.float64]:
        """Return a row for each of `FIGURE_NAMES`, a column a cell; NaN where `query-migrate` reports none."""
        table = self._figures.view(float).reshape(len(self._figures), -1)
        table[table == ABSENT] = np.nan
        return table.T


@lru_cache(maxsize=1)
def _run_fractions() -> NDArray[np.float64]:
    """The guest's speed for each percentage of auto-converge."""
    return np.array([run_fraction(p) for p in range(MAX_PERCENTAGE + 1)])
