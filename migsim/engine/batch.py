"""Many migrations at once, by the laws of the event engine.

`simulate_many` takes any inputs; `simulate_grid` one input of which some values are varied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.engine.batch_result import COLUMNS, OUTCOMES, BatchResult, columns_of
from migsim.engine.des import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError
from migsim.results import MigrationResult

__all__ = ["BatchResult", "simulate_grid", "simulate_many"]

Engine = Literal["auto", "events"]

PLAIN = ("link_bytes_per_s", "deadline_s", "fresh_pages")
"""Fields of `SimulationInput` that a grid may vary."""


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
        A seed for each cell, as `simulate` takes it; by default expected values.
    engine : {"auto", "events"}
        The fastest engine that models a cell, or the event engine for all.

    Returns
    -------
    BatchResult
        Of shape (cells,). What `simulate` gives for each cell, within 0.1 %.

    Raises
    ------
    ParameterError
        For an engine that does not exist, or seeds that are not as many as the cells.

    Examples
    --------
    >>> simulate_many([]).shape
    (0,)
    """
    _check_engine(engine)
    if seeds is not None and len(seeds) != len(cells):
        raise ParameterError(
            f"There are {len(seeds)} seeds for {len(cells)} cells.",
            "Each cell has one.",
            "Give as many, or none.",
        )
    results = [simulate(c, seed=s) for c, s in zip(cells, seeds or [None] * len(cells), strict=True)]
    return _collect(results, (len(cells),), {})


def simulate_grid(
    what: SimulationInput, vary: Mapping[str, ArrayLike], *, engine: Engine = "auto"
) -> BatchResult:
    """Simulate one migration with some of its values varied.

    Parameters
    ----------
    what : SimulationInput
    vary : mapping of str to array_like
        By the name of a migration parameter in QAPI's spelling and unit (``"max-bandwidth"``), of a host term
        (``"normal_page_s"``) or of a field (``"link_bytes_per_s"``, ``"deadline_s"``, ``"fresh_pages"``): its values.
        The arrays are broadcast together: equally long ones vary together, (n, 1) and (m,) make a grid.
    engine : {"auto", "events"}
        As in `simulate_many`.

    Returns
    -------
    BatchResult
        In the shape that the arrays are broadcast to.

    Raises
    ------
    ParameterError
        For a name that nothing has, arrays that do not go together, or an engine that does not exist.
    """
    _check_engine(engine)
    arrays = _broadcast(what, vary)
    shape = next(iter(arrays.values())).shape if arrays else ()
    columns = {name: values.ravel().tolist() for name, values in arrays.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}]
    return _collect([simulate(_with(what, row)) for row in rows], shape, arrays)


def _check_engine(engine: str) -> None:
    if engine not in ("auto", "events"):
        raise ParameterError(
            f"The engine is {engine!r}.", "Engines are auto and events.", "Choose one of them."
        )


def _broadcast(what: SimulationInput, vary: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    from migsim.qapi import PARAMETERS

    for name in vary:
        if not (name in PARAMETERS or name in what.terms or name in PLAIN):
            raise ParameterError(
                f"{name!r} cannot be varied.",
                "Migration parameters, host terms and " + ", ".join(PLAIN) + " can.",
                "Correct the name.",
            )
    try:
        arrays = np.broadcast_arrays(*(np.asarray(values) for values in vary.values()))
    except ValueError:
        shapes = {name: np.shape(values) for name, values in vary.items()}
        raise ParameterError(
            f"The arrays have the shapes {shapes}.",
            "They are broadcast together.",
            "Give all one length, or each an axis of its own.",
        ) from None
    return dict(zip(vary, arrays, strict=True))


def _with(what: SimulationInput, row: Mapping[str, Any]) -> SimulationInput:
    """Return the input with a cell's values."""
    plain = {name: row[name] for name in PLAIN if name in row}
    terms = {name: value for name, value in row.items() if name in what.terms}
    parameters = {k: v for k, v in row.items() if k not in plain and k not in terms}
    assert {f.name for f in fields(what)} >= plain.keys()
    return replace(what, **plain, terms={**what.terms, **terms}, parameters={**what.parameters, **parameters})


def _collect(
    results: Sequence[MigrationResult], shape: tuple[int, ...], varied: dict[str, NDArray[Any]]
) -> BatchResult:
    """Make columns of single results."""
    rows = [columns_of(r) for r in results]
    outcome = np.array([OUTCOMES.index(r.outcome.status) for r in results], dtype=np.int8).reshape(shape)
    columns = {name: np.array([row[name] for row in rows], dtype=float).reshape(shape) for name in COLUMNS}
    reasons = [r.outcome.reason for r in results]
    return BatchResult(outcome, columns, varied, reasons.__getitem__)
