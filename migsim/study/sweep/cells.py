"""The cells of a sweep: what each simulates, and what comes out, in columns.

A cell is one row of columns, never a Python object. Cells that differ only in numbers go to the batch engine together;
switches, choices and the guest's own numbers split them into groups. What an engine refuses is a cell with a reason.
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
from migsim.errors import MigsimError
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
"""By name, a value of each cell."""

CELL_OUTCOMES = ("completed", "not-converged", "error")
"""What the codes of outcomes stand for."""
COMPLETED, NOT_CONVERGED, ERROR = range(3)

_INPUTS = {name: quantity.field for name, quantity in QUANTITIES.items()} | {"writes-scale": WRITES_SCALE}
STANDSTILL = "writes nothing"
"""Beside what a group shares: whether its guest is at a standstill, which is another guest to the engines."""
_THROTTLES = ("cpu-throttle-initial", "max-cpu-throttle")


@dataclass(frozen=True)
class Plan:
    """What all cells of a sweep share.

    Attributes
    ----------
    question : Question
        About the guest's workload, with what is set and not varied.
    kinds : dict of str to str
        The kind of each axis, by name (see `migsim.study.sweep.axis`).
    engine : {"auto", "events"}
        The fastest that models a cell, or the event engine for all.
    traced : GuestSize, optional
        What the traced guest was, where its memory is varied.
    """

    question: Question
    kinds: Mapping[str, AxisKind] = field(default_factory=dict)
    engine: Literal["auto", "events"] = "auto"
    traced: GuestSize | None = None

    @property
    def draws(self) -> int:
        """How many a cell; 1: the medians, without intervals."""
        return self.question.draws

    @cached_property
    def workload(self) -> Workload:
        """The guest's writing."""
        return self.question.workload()

    def draw_all(self) -> tuple[Draw, ...]:
        """The draws: the same for every cell."""
        question = self.question
        return draw_all(question.host, self.workload.writes_spread, question.draws, question.seed)

    def guest(self, group: Mapping[str, Any], draw: int | None = None) -> Workload:
        """Return a group's guest; in a draw, where its memory is varied, by that draw's exponents of the rule.

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
        """Return the migration with a group's switches, choices and guest.

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
    """What came out of some cells, draw by draw.

    Attributes
    ----------
    outcome : ndarray of int8, shape (draws, cells)
        Index into `CELL_OUTCOMES`.
    figures : dict of str to ndarray, shape (draws, cells)
        `FIGURES`; NaN where a migration has none.
    reason : ndarray of int32, shape (cells,)
        Why a cell is an error: index into `reasons`; -1 for none.
    reasons : list of str
    """

    outcome: NDArray[np.int8]
    figures: dict[str, NDArray[np.float64]]
    reason: NDArray[np.int32]
    reasons: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, draws: int, cells: int) -> CellResults:
        """Return room for so many draws and cells, every one an error."""
        shape = (draws, cells)
        figures = {name: np.full(shape, np.nan) for name in FIGURES}
        return cls(np.full(shape, ERROR, dtype=np.int8), figures, np.full(cells, -1, dtype=np.int32))

    def mark_error(self, cells: NDArray[np.intp], reason: str) -> None:
        """Make cells errors, in every draw."""
        self.outcome[:, cells] = ERROR
        for values in self.figures.values():
            values[:, cells] = np.nan
        self.reason[cells] = self._reason_index(reason)

    def _reason_index(self, reason: str) -> int:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason)

    def joined_with(self, other: CellResults) -> CellResults:
        """Return these cells, then those of `other`."""
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
        """Return some of the cells, in a new order."""
        figures = {name: values[:, order] for name, values in self.figures.items()}
        return CellResults(self.outcome[:, order], figures, self.reason[order], self.reasons)

    def store_draw(self, draw: int, cells: NDArray[np.intp], result: BatchResult) -> None:
        """Keep what the batch engine found."""
        self.outcome[draw, cells] = result.outcome
        unfinished = ~result.completed
        for name, figure in FIGURES.items():
            values = result[figure.column] * figure.per_column
            if figure.only_completed:
                values = np.where(unfinished, np.nan, values)
            self.figures[name][draw, cells] = values


def simulate_cells(plan: Plan, columns: CellValues) -> CellResults:
    """Simulate cells, every draw of each.

    Parameters
    ----------
    plan : Plan
    columns : dict of str to ndarray
        A value of each axis for each cell.
    """
    cells = len(next(iter(columns.values())))
    drawn = plan.draw_all()
    out = CellResults.empty(len(drawn), cells)
    for own, index in _groups(plan, columns):
        try:
            base = plan.migration(own)
        except MigsimError as error:
            out.mark_error(index, str(error))
            continue
        index = _without_contradictions(base, columns, index, out)
        for k, draw in enumerate(drawn):
            here = replace(base, workload=plan.guest(own, k)) if GUEST_RAM in own else base
            index = _run(plan, draw, here, columns, index, k, out)
    return out


def _groups(plan: Plan, columns: CellValues) -> Iterator[tuple[dict[str, Any], NDArray[np.intp]]]:
    """Cells that share switches, choices and the guest: those values, and the cells' indices."""
    split = {name: values for name, values in columns.items() if plan.kinds[name] in ("choice", "guest")}
    if "writes-scale" in columns:
        split[STANDSTILL] = columns["writes-scale"] == 0
    cells = len(next(iter(columns.values())))
    code = np.zeros(cells, dtype=np.int64)
    for values in split.values():
        own, inverse = np.unique(values, return_inverse=True)
        _, code = np.unique(code * len(own) + inverse, return_inverse=True)
    order = np.argsort(code, kind="stable")
    for index in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        if len(index):
            yield {name: values[index[0]].item() for name, values in split.items()}, index


def _without_contradictions(
    base: SimulationInput, columns: CellValues, index: NDArray[np.intp], out: CellResults
) -> NDArray[np.intp]:
    """Fail the cells whose numbers QEMU would not take together; return the others."""
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
    """Simulate one draw of a group; what fails is narrowed down to its cells. Returns the cells that did not."""
    if not len(index):
        return index
    what = draw.of(base)
    try:
        vary = _numbers(plan, columns, index, what)
        result = simulate_grid(what, vary, seed=draw.seed, engine=plan.engine)
    except Exception as error:
        if len(index) > 1:
            halves = np.array_split(index, 2)
            return np.concatenate([_run(plan, draw, base, columns, half, k, out) for half in halves])
        reason = str(error) if isinstance(error, MigsimError) else f"{type(error).__name__}: {error}"
        out.mark_error(index, reason)
        return index[:0]
    out.store_draw(k, index, result)
    return index


def _numbers(plan: Plan, columns: CellValues, index: NDArray[np.intp], what: SimulationInput) -> CellValues:
    """What the batch engine varies: by its names, in this draw's terms."""
    vary: CellValues = {}
    for name, values in columns.items():
        kind = plan.kinds[name]
        term = name.removeprefix(SCALE_PREFIX)
        if kind in ("term", "scale") and term not in what.terms:
            continue  # a term of a mechanism that is off here
        if kind == "scale":
            vary[term] = vary.get(term, what.terms[term]) * values[index]
        elif kind in ("parameter", "term", "input"):
            vary[_INPUTS.get(name, name)] = values[index]
    if WRITES_SCALE in vary and not vary[WRITES_SCALE].all():  # a group that writes nothing at all
        del vary[WRITES_SCALE]
    return vary
