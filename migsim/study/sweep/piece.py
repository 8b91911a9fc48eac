"""A piece of a sweep: the columns of some cells, summarised over the draws, and the piece's name.

The name is a hash of everything that determines the figures: the source of the laws, the guest, the host, the settings
and the values of the cells. Pieces of the same name hold the same figures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from migsim.intervals import HIGH_PERCENT, LOW_PERCENT
from migsim.results.figures import FIGURES, INTERVALS
from migsim.study.sweep.cells import (
    COMPLETED,
    ERROR,
    NOT_CONVERGED,
    CellResults,
    CellValues,
    Plan,
    simulate_cells,
)
from migsim.version import __version__

__all__ = ["Piece", "column_names", "laws_hash", "piece_name", "plan_hash", "simulate_piece", "summarise"]

_LAWS = (
    *("models", "engine", "qapi", "profiles", "workload", "results/figures.py", "units.py", "intervals.py"),
    *("study/draws.py", "study/question.py", "study/quantities.py", "study/scaling.py"),
    *("study/sweep/axis.py", "study/sweep/cells.py", "study/sweep/piece.py", "study/sweep/guest_ram.py"),
)
"""Parts of the package that determine the figures of a cell."""


@dataclass(frozen=True)
class Piece:
    """Cells that were simulated together.

    Attributes
    ----------
    columns : dict of str to ndarray
        ``outcome`` (code), `FIGURES`; with several draws also ``completed-fraction``, ``NAME-low`` and ``NAME-high``;
        ``reason``: index into `reasons`, -1 for none.
    reasons : tuple of str
    laws : str
        `laws_hash` of the process that simulated it.
    """

    columns: CellValues
    reasons: tuple[str, ...] = ()
    laws: str = ""


def simulate_piece(plan: Plan, columns: CellValues) -> Piece:
    """Simulate the cells of a piece."""
    results = simulate_cells(plan, columns)
    summary = summarise(results, intervals=plan.draws > 1)
    return Piece(summary | {"reason": results.reason}, tuple(results.reasons), laws_hash())


def summarise(results: CellResults, *, intervals: bool) -> CellValues:
    """Return each cell's outcome in most of its draws, and the medians of the draws with that outcome.

    Parameters
    ----------
    results : CellResults
    intervals : bool
        Whether to add the middle 80 % of these draws, and the share of all draws that completed.
    """
    outcome = results.outcome
    fraction = np.mean(outcome == COMPLETED, axis=0)
    verdict = np.where(fraction >= 0.5, COMPLETED, NOT_CONVERGED).astype(np.int8)
    verdict[outcome[0] == ERROR] = ERROR
    columns: CellValues = {"outcome": verdict}
    if intervals:
        columns["completed-fraction"] = np.where(verdict == ERROR, np.nan, fraction)
    kept = outcome == verdict
    for name in FIGURES:
        low, median, high = _middle(np.where(kept, results.figures[name], np.nan))
        columns[name] = median
        if intervals and name in INTERVALS:
            columns |= {f"{name}-low": low, f"{name}-high": high}
    return columns


def column_names(*, intervals: bool) -> frozenset[str]:
    """Return the names of a piece's columns: those of `summarise`, and ``reason``."""
    names = {"outcome", "reason", *FIGURES}
    if intervals:
        names |= {"completed-fraction", *(f"{name}-{end}" for name in INTERVALS for end in ("low", "high"))}
    return frozenset(names)


def _middle(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the draw at 10 %, the median and the draw at 90 % of each column, without NaN."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.maximum(np.sum(np.isfinite(values), axis=0) - 1, 0)

    def at(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.take_along_axis(ordered, place.astype(np.intp)[None, :], axis=0)[0])

    median = (at(np.floor(0.5 * last)) + at(np.ceil(0.5 * last))) / 2
    return at(np.floor(LOW_PERCENT / 100 * last)), median, at(np.ceil(HIGH_PERCENT / 100 * last))


@lru_cache(maxsize=1)
def laws_hash() -> str:
    """Return a hash of migsim's version and the source of its laws."""
    digest = hashlib.sha256(__version__.encode())
    root = Path(__file__).parents[2]
    for part in _LAWS:
        for path in sorted((root / part).rglob("*")) or [root / part]:
            if path.suffix in (".py", ".csv"):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def plan_hash(plan: Plan) -> str:
    """Return a hash of the inputs that all cells share, and of the laws."""
    shared = {
        "question": plan.question.as_dict(),
        "kinds": dict(plan.kinds),
        "engine": plan.engine,
        "traced": repr(plan.traced),
    }
    text = json.dumps(shared, sort_keys=True)
    return hashlib.sha256((laws_hash() + text).encode()).hexdigest()


def piece_name(shared: str, columns: CellValues) -> str:
    """Return the name of a piece: a hash of `plan_hash` (`shared`) and the values of its cells."""
    digest = hashlib.sha256(shared.encode())
    for name, values in columns.items():
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:40]
