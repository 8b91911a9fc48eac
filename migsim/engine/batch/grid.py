"""The entry to the batch engine: `simulate_many` takes any inputs, `simulate_grid` one input with varied values.

Migrations that the compiled loop does not model are simulated by the event engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.engine.batch.columns import WRITES_SCALE, compiles, grid_columns, group_key, many_columns
from migsim.engine.batch.end import reason_of
from migsim.engine.batch.records import REASON, as_rows, empty_records
from migsim.engine.batch.result import BATCH_OUTCOMES, FIGURE_NAMES, BatchResult, figures_of
from migsim.engine.batch.run import Run
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError
from migsim.results import MigrationResult

__all__ = ["BatchResult", "simulate_grid", "simulate_many"]

Engine = Literal["auto", "events"]

VARIED_FIELDS = ("link_bytes_per_s", "deadline_s", "fresh_pages", "host_cpus")
"""Fields of `SimulationInput` that a grid may vary."""

CELLS_AT_ONCE = 1 << 12
"""Cells of a grid that are run together: few enough that their records stay in the processor's cache."""


def simulate_many(
    cells: Sequence[SimulationInput],
    *,
    seeds: Sequence[int | None] | None = None,
    engine: Engine = "auto",
) -> BatchResult:
    """Simulate many migrations.

    Parameters
    ----------
    cells : sequence of SimulationInput
    seeds : sequence of int or None, optional
        A seed for each cell, as `simulate` takes it; by default expected counts.
    engine : {"auto", "events"}
        The fastest engine that models each cell, or the event engine for all cells.

    Returns
    -------
    BatchResult
        Of shape (cells,). The figures are those of `simulate` for each cell, within 0.1 %.

    Raises
    ------
    ParameterError
        For an engine that does not exist, or another number of seeds than of cells.

    Examples
    --------
    >>> simulate_many([]).shape
    (0,)
    """
    _check_engine(engine)
    if seeds is not None and len(seeds) != len(cells):
        raise ParameterError(
            f"There are {len(seeds)} seeds for {len(cells)} cells.",
            "Each cell has a seed of its own.",
            "Give one seed for each cell, or none at all.",
        )
    seed_of = list(seeds) if seeds is not None else [None] * len(cells)
    table = _Table((len(cells),), {})
    groups: dict[Any, list[int]] = {}
    for k, migration in enumerate(cells):
        groups.setdefault(
            group_key(migration) if engine == "auto" and compiles(migration) else None, []
        ).append(k)
    for k in groups.pop(None, []):
        table.put(k, simulate(cells[k], seed=seed_of[k]))
    for members in groups.values():
        at = np.array(members)
        run = Run(many_columns([cells[k] for k in members]), len(members))
        run.simulate([seed_of[k] for k in members])
        table.put_many(at, run)
    return table.result()


def simulate_grid(
    migration: SimulationInput,
    vary: Mapping[str, ArrayLike],
    *,
    seed: int | None = None,
    engine: Engine = "auto",
) -> BatchResult:
    """Simulate one migration with some of its values varied.

    Parameters
    ----------
    migration : SimulationInput
    vary : mapping of str to array_like
        Values by name: of a migration parameter in QAPI's spelling and unit (``"max-bandwidth"``), of a host term
        (``"normal_page_s"``), or of a field (``"link_bytes_per_s"``, ``"deadline_s"``, ``"fresh_pages"``,
        ``"host_cpus"``);
        ``"writes_scale"`` holds factors above 0 on the workload's write rates.
        The arrays are broadcast together: arrays of one length vary together, (n, 1) and (m,) make a grid.
    seed : int, optional
        Draw dirty counts with this seed, the same for every cell; None: expected counts.
    engine : {"auto", "events"}
        As in `simulate_many`.

    Returns
    -------
    BatchResult
        In the shape that the arrays are broadcast to.

    Raises
    ------
    ParameterError
        For an unknown name, arrays whose shapes do not fit together, or an engine that does not exist.
    """
    _check_engine(engine)
    arrays = _broadcast(migration, vary)
    shape = next(iter(arrays.values())).shape if arrays else ()
    table = _Table(shape, arrays)
    count = table.outcome.size
    for begin in range(0, count, CELLS_AT_ONCE):
        at = slice(begin, min(begin + CELLS_AT_ONCE, count))
        here = {name: values.flat[at] for name, values in arrays.items()}
        length = at.stop - begin
        if engine == "auto" and compiles(migration):
            run = Run(grid_columns(migration, here), length)
            run.simulate(None if seed is None else [seed] * length)
            table.put_many(at, run)
            continue
        for k in range(length):
            row = {name: values[k].item() for name, values in here.items()}
            table.put(begin + k, simulate(_with(migration, row), seed=seed))
    return table.result()


def _check_engine(engine: str) -> None:
    if engine not in ("auto", "events"):
        raise ParameterError(
            f"The engine is {engine!r}.", "Engines are auto and events.", "Choose one of them."
        )


def _broadcast(migration: SimulationInput, vary: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    from migsim.qapi import PARAMETERS

    for name in vary:
        if not (name in PARAMETERS or name in migration.terms or name in (*VARIED_FIELDS, WRITES_SCALE)):
            raise ParameterError(
                f"{name!r} cannot be varied.",
                "Migration parameters, host terms and " + ", ".join((*VARIED_FIELDS, WRITES_SCALE)) + " can.",
                "Correct the name.",
            )
    if WRITES_SCALE in vary and not np.all(np.asarray(vary[WRITES_SCALE]) > 0):
        raise ParameterError(
            f"{WRITES_SCALE} has a factor that is not above 0.",
            "A guest that never writes is laid out differently, so it cannot be a cell of the same grid.",
            "Use factors above 0, or simulate workload.scaled(0) by itself.",
        )
    arrays = {name: np.asarray(values) for name, values in vary.items()}
    try:
        shape = np.broadcast_shapes(*(values.shape for values in arrays.values()))
    except ValueError:
        shapes = {name: np.shape(values) for name, values in vary.items()}
        raise ParameterError(
            f"The arrays have the shapes {shapes}.",
            "NumPy broadcasts them together, which these shapes do not allow.",
            "Give all arrays one length, or each array an axis of its own.",
        ) from None
    return {
        name: values if values.shape == shape else np.broadcast_to(values, shape)
        for name, values in arrays.items()
    }


def _with(migration: SimulationInput, row: Mapping[str, Any]) -> SimulationInput:
    """Return the input with a cell's values."""
    fields = {name: row[name] for name in VARIED_FIELDS if name in row}
    terms = {name: value for name, value in row.items() if name in migration.terms}
    parameters = {k: v for k, v in row.items() if k not in fields and k not in terms and k != WRITES_SCALE}
    if WRITES_SCALE in row:
        fields["workload"] = migration.workload.scaled(row[WRITES_SCALE])
    return replace(
        migration,
        **fields,
        terms={**migration.terms, **terms},
        parameters={**migration.parameters, **parameters},
    )


class _Table:
    """Outcomes, figures and reasons of a batch, filled in as cells are simulated."""

    def __init__(self, shape: tuple[int, ...], varied: dict[str, NDArray[Any]]) -> None:
        self.shape, self.varied = shape, varied
        count = int(np.prod(shape))
        self.outcome = np.zeros(count, np.int8)
        self._table = np.empty((len(FIGURE_NAMES), count))
        self._reason_records: NDArray[Any] = empty_records(count, REASON)
        self._reasons: dict[int, str] = {}

    def put(self, k: int, result: MigrationResult) -> None:
        """Fill in one result."""
        self.outcome[k] = BATCH_OUTCOMES.index(result.outcome.status)
        self._reasons[k] = result.outcome.reason
        for name, value in figures_of(result).items():
            self._table[FIGURE_NAMES.index(name), k] = value

    def put_many(self, at: slice | NDArray[np.int64], run: Run) -> None:
        """Fill in a run's cells."""
        self.outcome[at] = run.reasons["completed"] == 0
        as_rows(self._reason_records)[at] = as_rows(run.reasons)
        self._table[:, at] = run.figures()

    def _reason(self, k: int) -> str:
        return self._reasons[k] if k in self._reasons else reason_of(self._reason_records[k])

    def result(self) -> BatchResult:
        """Return the batch's result."""
        table = self._table.reshape(len(FIGURE_NAMES), *self.shape)
        columns = {name: table[k, ...] for k, name in enumerate(FIGURE_NAMES)}
        return BatchResult(self.outcome.reshape(self.shape), columns, self.varied, self._reason)
