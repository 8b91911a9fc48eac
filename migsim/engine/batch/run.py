"""Cells of one kind, run by the compiled loop."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.cache import Cache, cache_of
from migsim.engine.batch.cells import cells_of, kind_of
from migsim.engine.batch.columns import Columns
from migsim.engine.batch.compile import compiled_run
from migsim.engine.batch.layout import extent_records, memory_of
from migsim.engine.batch.records import ABSENT, ENDED, FIGURES, STATE, SYNC, WHY, Notes
from migsim.engine.segments import cut, extents_of
from migsim.engine.standstill import deviations, many_rounds, steady_rounds
from migsim.models.throttle.auto_converge import MAX_PERCENTAGE
from migsim.models.throttle.cpu_throttle import run_fraction
from migsim.models.xbzrle.cache import cache_pages

__all__ = ["Run"]

ROOM = 256
"""Syncs that there is room for at first."""


class Run:
    """A group of cells, before and after it ran.

    Parameters
    ----------
    columns : Columns
    count : int
        Cells.

    Attributes
    ----------
    whys : ndarray of `WHY`
        What each cell's reason is made of.
    """

    def __init__(self, columns: Columns, count: int) -> None:
        self.columns = columns
        self.cells = cells_of(columns, count)
        self.whys = np.zeros(count, WHY)
        self._figures = np.zeros(count, FIGURES)
        workload = columns.migration.workload
        extents = extents_of(workload)
        self._extents, self._memory = extent_records(extents), memory_of(extents, len(workload.classes))
        self._kind = kind_of(columns.migration)
        # Which segment is fresh, drawn, or in the cache matters where not all are alike.
        fresh = columns.field("fresh_pages")
        self._apart = columns.migration.has_capability("xbzrle") or bool(
            np.any((fresh > 0) & (fresh < np.inf))
        )
        self._caches: dict[int, Cache] = {}

    def go(self, seeds: Sequence[int | None] | None = None) -> None:
        """Run every cell; those with a seed draw their dirty counts."""
        if seeds is None or all(seed is None for seed in seeds):
            self._loop(slice(None), None)
            return
        for k, seed in enumerate(seeds):
            self._loop(slice(k, k + 1), seed)

    def _loop(self, which: slice, seed: int | None) -> None:
        cells, figures, whys = self.cells[which], self._figures[which], self.whys[which]
        if not self.columns.migration.has_capability("xbzrle"):
            self._loop_alike(None, cells, figures, whys, seed)
            return
        for size in np.unique(cells["cache_size"]).tolist():
            at = cells["cache_size"] == size
            figures_here, whys_here = figures[at], whys[at]
            self._loop_alike(self._cache(size), cells[at], figures_here, whys_here, seed)
            figures[at], whys[at] = figures_here, whys_here

    def _cache(self, size: int) -> Cache:
        if size not in self._caches:
            migration = self.columns.migration
            slots = cache_pages(size, migration.version)
            self._caches[size] = cache_of(cut(migration.workload), migration.workload, slots)
        return self._caches[size]

    def _loop_alike(
        self,
        cache: Cache | None,
        cells: NDArray[Any],
        figures: NDArray[Any],
        whys: NDArray[Any],
        seed: int | None,
    ) -> None:
        """Run cells that have one cache."""
        done, room = 0, ROOM
        while done < len(cells):
            rng = None if seed is None else np.random.default_rng(seed)
            if rng is not None:
                cells["guest_s"] = rng.uniform(0.0, 1000.0)
            self._kind["deviations"] = deviations(rng is not None)
            self._kind["many_rounds"] = many_rounds(rng is not None)
            self._kind["steady_rounds"] = steady_rounds(cache is not None)
            self._kind["apart"] = self._apart or rng is not None
            notes = Notes(np.empty((room, SYNC)), np.empty(room), np.zeros(room + 1))
            done = compiled_run()(
                self._memory,
                self._extents,
                cache,
                np.zeros(1, STATE),
                self._kind,
                _run_fractions(),
                cells,
                self.columns.rates,
                notes,
                np.zeros(1, ENDED),
                figures,
                whys,
                done,
                rng,
            )
            room *= 4

    def figures(self) -> NDArray[np.float64]:
        """Rows as `batch_result.COLUMNS`, a column a cell; NaN where `query-migrate` has no such figure."""
        table = self._figures.view(float).reshape(len(self._figures), -1)
        table[table == ABSENT] = np.nan
        return table.T


@lru_cache(maxsize=1)
def _run_fractions() -> NDArray[np.float64]:
    """The share of time that the guest runs, by auto-converge's percentage."""
    return np.array([run_fraction(p) for p in range(MAX_PERCENTAGE + 1)])
