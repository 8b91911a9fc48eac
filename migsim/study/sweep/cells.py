"""The cells of a sweep, in columns: their inputs, their simulation, and the results of every draw.

A cell is one combination of values. Cells are rows of arrays, never Python objects. Cells that differ only in numbers
go to the batch engine together; switches, choices and the numbers that change the guest divide cells into groups. A
cell that QEMU or an engine refuses gets the outcome "error" and a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.columns import WRITES_SCALE
from migsim.engine.batch.grid import simulate_grid
from migsim.engine.batch.result import BatchResult
from migsim.engine.inputs import SimulationInput
from migsim.errors import HostError, MigsimError
from migsim.qapi import check_parameters
from migsim.results.figures import FIGURES
from migsim.study.draws import Draw, draw_all
from migsim.study.quantities import QUANTITIES
from migsim.study.question import Question
from migsim.study.scaling import GuestSize
from migsim.study.sweep.axis import GUEST_RAM, SCALE_PREFIX, AxisKind
from migsim.study.sweep.guest_ram import with_ram
from migsim.workload import Workload

__all__ = [
    "CELL_OUTCOMES",
    "COMPLETED",
    "ERROR",
    "NOT_CONVERGED",
    "CellResults",
    "CellValues",
    "Plan",
    "simulate_cells",
]

CellValues = dict[str, NDArray[Any]]
"""Columns by name, with a value for each cell."""

CELL_OUTCOMES = ("completed", "not-converged", "error")
"""Names of a cell's outcome codes; the batch engine has the first two."""
COMPLETED, NOT_CONVERGED, ERROR = range(3)

_INPUTS = {name: quantity.field for name, quantity in QUANTITIES.items()} | {"writes-scale": WRITES_SCALE}
STANDSTILL = "writes nothing"
"""Key of a group whose write rates are scaled to 0: the engines take a guest that writes nothing as another guest."""
_THROTTLES = ("cpu-throttle-initial", "max-cpu-throttle")


@dataclass(frozen=True)
class Plan:
    """The inputs that all cells of a sweep share.

    Attributes
    ----------
    question : Question
        The guest's workload, and every setting that does not vary.
    kinds : dict of str to str
        The kind of each axis, by name (see `migsim.study.sweep.axis`).
    engine : {"auto", "events"}
        The fastest engine that models a cell, or the event engine for all.
    traced : GuestSize, optional
        The traced guest's size, users and transactions, where its memory varies.
    """

    question: Question
    kinds: Mapping[str, AxisKind] = field(default_factory=dict)
    engine: Literal["auto", "events"] = "auto"
    traced: GuestSize | None = None

    @property
    def draws(self) -> int:
        """Number of draws per cell; 1 for the medians, without intervals."""
        return self.question.draws

    @cached_property
    def workload(self) -> Workload:
        """The guest's workload."""
        return self.question.workload()

    def draw_all(self) -> tuple[Draw, ...]:
        """Return the draws, which are the same for every cell."""
        question = self.question
        return draw_all(question.host, self.workload.writes_spread, question.draws, question.seed)

    def guest(self, group: Mapping[str, Any], draw: int | None = None) -> Workload:
        """Return a group's workload; where the guest's memory varies, scaled with the exponents of that draw.

        Raises
        ------
        ParameterError
        """
        workload = self.workload
        if GUEST_RAM in group and self.traced is not None:
            medians = draw is None or self.draws < 2
            rng = None if medians else np.random.default_rng((self.question.seed, draw or 0))
            workload = with_ram(workload, self.traced, int(group[GUEST_RAM]), rng)
        if "load" in group:
            workload = workload.replace(load_fraction=float(group["load"]))
        return workload.scaled(0.0) if group.get(STANDSTILL) else workload

    def migration(self, group: Mapping[str, Any]) -> SimulationInput:
        """Return the engines' input with a group's switches, choices and guest.

        Raises
        ------
        ParameterError, ProfileError
        """
        settings = self.question.settings
        chosen = {name: value for name, value in group.items() if self.kinds.get(name) == "choice"}
        question = self.question.replace(
            settings={**settings.parameters, **settings.capabilities, **chosen},
            dirty_ring_size=int(group.get("dirty-ring-size", self.question.dirty_ring_size)),
        )
        return question.migration(self.guest(group))


@dataclass
class CellResults:
    """Results of cells, draw by draw.

    Attributes
    ----------
    outcome : ndarray of int8, shape (draws, cells)
        Index into `CELL_OUTCOMES`.
    figures : dict of str to ndarray, shape (draws, cells)
        The figures in `FIGURES`; NaN where a migration has none.
    reason : ndarray of int32, shape (cells,)
        Index into `reasons` of a cell that is an error; -1 for others.
    reasons : list of str
    """

    outcome: NDArray[np.int8]
    figures: dict[str, NDArray[np.float64]]
    reason: NDArray[np.int32]
    reasons: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, draws: int, cells: int) -> CellResults:
        """Return results of `draws` and `cells`, all errors until they are stored."""
        shape = (draws, cells)
        figures = {name: np.full(shape, np.nan) for name in FIGURES}
        return cls(np.full(shape, ERROR, dtype=np.int8), figures, np.full(cells, -1, dtype=np.int32))

    def mark_error(self, cells: NDArray[np.intp], reason: str) -> None:
        """Give cells the outcome "error" and a reason, in every draw."""
        self.outcome[:, cells] = ERROR
        for values in self.figures.values():
            values[:, cells] = np.nan
        self.reason[cells] = self._reason_index(reason)

    def _reason_index(self, reason: str) -> int:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason)

    def joined_with(self, other: CellResults) -> CellResults:
        """Return the results of these cells, followed by those of `other`."""
        joined = CellResults(
            np.concatenate([self.outcome, other.outcome], axis=1),
            {n: np.concatenate([v, other.figures[n]], axis=1) for n, v in self.figures.items()},
            np.concatenate([self.reason, np.full_like(other.reason, -1)]),
            list(self.reasons),
        )
        for k, reason in enumerate(other.reasons):
            joined.reason[len(self.reason) :][other.reason == k] = joined._reason_index(reason)
        return joined

    def reordered(self, order: NDArray[np.intp]) -> CellResults:
        """Return the results of the cells at the indices `order`."""
        figures = {name: values[:, order] for name, values in self.figures.items()}
        return CellResults(self.outcome[:, order], figures, self.reason[order], self.reasons)

    def store_draw(self, draw: int, cells: NDArray[np.intp], result: BatchResult) -> None:
        """Store the batch engine's results of one draw."""
        self.outcome[draw, cells] = result.outcome
        unfinished = ~result.completed
        for name, figure in FIGURES.items():
            values = result[figure.column] * figure.per_column
            if figure.only_completed:
                values = np.where(unfinished, np.nan, values)
            self.figures[name][draw, cells] = values


def simulate_cells(plan: Plan, columns: CellValues) -> CellResults:
    """Simulate every draw of cells.

    Parameters
    ----------
    plan : Plan
    columns : dict of str to ndarray
        For each axis, its value in each cell.
    """
    cells = len(next(iter(columns.values())))
    drawn = plan.draw_all()
    out = CellResults.empty(len(drawn), cells)
    for group, index in _groups(plan, columns):
        try:
            base = plan.migration(group)
        except HostError:
            raise
        except MigsimError as error:
            out.mark_error(index, str(error))
            continue
        index = _without_contradictions(base, columns, index, out)
        for k, draw in enumerate(drawn):
            migration = replace(base, workload=plan.guest(group, k)) if GUEST_RAM in group else base
            index = _run(plan, draw, migration, columns, index, k, out)
    return out


def _groups(plan: Plan, columns: CellValues) -> Iterator[tuple[dict[str, Any], NDArray[np.intp]]]:
    """Yield groups of cells with the same switches, choices and guest: these values, and the cells' indices."""
    split = {name: values for name, values in columns.items() if plan.kinds[name] in ("choice", "guest")}
    if "writes-scale" in columns:
        split[STANDSTILL] = columns["writes-scale"] == 0
    cells = len(next(iter(columns.values())))
    code = np.zeros(cells, dtype=np.int64)
    for values in split.values():
        distinct, inverse = np.unique(values, return_inverse=True)
        _, code = np.unique(code * len(distinct) + inverse, return_inverse=True)
    order = np.argsort(code, kind="stable")
    for index in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        if len(index):
            yield {name: values[index[0]].item() for name, values in split.items()}, index


def _without_contradictions(
    base: SimulationInput, columns: CellValues, index: NDArray[np.intp], out: CellResults
) -> NDArray[np.intp]:
    """Mark the cells whose numbers QEMU would refuse together as errors; return the others."""
    varied = [name for name in _THROTTLES if name in columns]
    if not varied:
        return index
    pairs, inverse = np.unique(
        np.stack([columns[name][index] for name in varied], axis=1), axis=0, return_inverse=True
    )
    good = np.ones(len(index), dtype=bool)
    for k, pair in enumerate(pairs.tolist()):
        try:
            check_parameters(
                {**base.parameters, **dict(zip(varied, pair, strict=True))}, base.version, base.capabilities
            )
        except MigsimError as error:
            out.mark_error(index[inverse.ravel() == k], str(error))
            good &= inverse.ravel() != k
    return index[good]


def _run(
    plan: Plan,
    draw: Draw,
    base: SimulationInput,
    columns: CellValues,
    index: NDArray[np.intp],
    k: int,
    out: CellResults,
) -> NDArray[np.intp]:
    """Simulate one draw of a group; return the cells that were not refused.

    When an engine refuses the batch, it is halved until the refused cells are found, and only these become errors. What
    the host lacks, and a fault of ours, is no cell's reason: it ends the sweep.

    Raises
    ------
    HostError
    """
    if not len(index):
        return index
    migration = draw.of(base)
    try:
        vary = _numbers(plan, columns, index, migration)
        result = simulate_grid(migration, vary, seed=draw.seed, engine=plan.engine)
    except HostError:
        raise
    except MigsimError as error:
        if len(index) > 1:
            halves = np.array_split(index, 2)
            return np.concatenate([_run(plan, draw, base, columns, half, k, out) for half in halves])
        out.mark_error(index, str(error))
        return index[:0]
    out.store_draw(k, index, result)
    return index


def _numbers(
    plan: Plan, columns: CellValues, index: NDArray[np.intp], migration: SimulationInput
) -> CellValues:
    """Return the numbers that vary by the batch engine's names; factors become this draw's terms times the factor."""
    vary: CellValues = {}
    for name, values in columns.items():
        kind = plan.kinds[name]
        term = name.removeprefix(SCALE_PREFIX)
        if kind in ("term", "scale") and term not in migration.terms:
            continue  # the mechanism that needs this term is off
        if kind == "scale":
            vary[term] = vary.get(term, migration.terms[term]) * values[index]
        elif kind in ("parameter", "term", "input"):
            vary[_INPUTS.get(name, name)] = values[index]
    if WRITES_SCALE in vary and not vary[WRITES_SCALE].all():  # the group's workload is scaled to 0 already
        del vary[WRITES_SCALE]
    return vary
