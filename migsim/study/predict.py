"""Predictions: one migration, simulated once for each draw of the uncertain inputs of guest and host."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from migsim.engine.events.precopy import simulate
from migsim.html import html_list
from migsim.intervals import HIGH_PERCENT, LOW_PERCENT
from migsim.results import MigrationResult
from migsim.results.figures import INTERVALS
from migsim.study.draws import draw_all, figures_of_draw
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.trace import Trace

__all__ = ["Prediction", "predict"]


WEIGHTS = {"total-time": 4.0, "downtime": 2.0, "transferred": 2.0, "rounds": 0.5}
"""How much each figure counts where the draw nearest the medians is chosen."""


@dataclass(frozen=True)
class Prediction:
    """The predicted migration: its outcome, figures with 80 % intervals, and assumptions.

    Attributes
    ----------
    result : MigrationResult
        The result of the draw nearest the medians, with `intervals` filled in.
    completed_fraction : float
        Share of the draws that completed before the deadline.
    assumptions : tuple of str
        What the model takes for granted or leaves out, a sentence each.
    draws : tuple of dict
        Figures of every draw that ended like `result` (see `migsim.study.draws.figures_of_draw`).
    question : Question, optional
        The question that was asked.
    fit : WorkloadFit, optional
        The fit of the trace; None for a workload.
    runs : tuple of MigrationResult
        Results of the same draws. Their tables are computed on first access, because most are never read.
    """

    result: MigrationResult
    completed_fraction: float
    assumptions: tuple[str, ...]
    draws: tuple[dict[str, float], ...]
    question: Question | None = None
    fit: WorkloadFit | None = None
    runs: tuple[MigrationResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def guest_speeds(self) -> tuple[pd.DataFrame, ...]:
        """The guest's speed over time in each draw: see `migsim.study.guest_performance`."""
        return tuple(run.guest_speed for run in self.runs)

    @property
    def medians(self) -> dict[str, float]:
        """Medians over the draws of the figures in `migsim.results.figures.INTERVALS`: the point prediction."""
        return {name: float(np.median([d[name] for d in self.draws])) for name in INTERVALS}

    def median(self, name: str) -> float:
        """Return the median of one figure over the draws that have it; NaN where none does."""
        values = [d[name] for d in self.draws if name in d]
        return float(np.median(values)) if values else float("nan")

    def to_json_object(self) -> dict[str, Any]:
        """Return `query-migrate`'s object with `outcome`, `reason`, `intervals`, `downtime-parts`, `assumptions`."""
        result = self.result
        return {
            **result.info,
            "outcome": result.outcome.status,
            "reason": result.outcome.reason,
            "completed-fraction": self.completed_fraction,
            "medians": {name: value for name, value in self.medians.items() if value == value},
            "intervals": {name: list(pair) for name, pair in result.intervals.items()},
            "downtime-parts": dict(result.downtime_parts_ms),
            "costs": dict(result.costs),
            "assumptions": list(self.assumptions),
        }

    def __repr__(self) -> str:
        return f"<Prediction {self.result.outcome.status}: {self.result.outcome.reason}>"

    def _repr_html_(self) -> str:
        fraction = f"<p>{self.completed_fraction:.0%} of the draws complete before the deadline.</p>"
        return f"<div>{self.result._repr_html_()}{fraction}{html_list('Assumed', self.assumptions)}</div>"


@dataclass(frozen=True)
class _DrawResult:
    """The result of one draw, and its figures."""

    result: MigrationResult
    figures: dict[str, float] = field(default_factory=dict)


@takes_question()
def predict(
    guest: Question | Trace | Workload | str | os.PathLike[str],
    *,
    family: Callable[[np.random.Generator], Workload] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **keywords: Unpack[QuestionKeywords],
) -> Prediction:
    """Predict a guest's migration.

    Parameters
    ----------
    guest : Question, Trace, Workload or path
        The guest, or a question about it.
    family : callable, optional
        Returns a workload for each draw, where the workload itself is uncertain. The question's workload is then the
        median one.
    progress : callable, optional
        Called with (done, of) draws.
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, draws, seed, ...

    Raises
    ------
    TraceError, ProfileError, ParameterError, UnitError

    Examples
    --------
    >>> idle = Workload(ram_bytes=2**30, ram_total_bytes=2**30, zero_pages=2**18)
    >>> predict(idle, qemu_version="10.0", settings={"max-bandwidth": "1Gbps"}, draws=3).result.outcome.status
    'completed'
    """
    question = Question.of(guest, **keywords)
    workload = question.workload()
    base = question.migration(workload)
    simulated: list[_DrawResult] = []
    draws = draw_all(question.host, workload.writes_spread, question.draws, question.seed)
    for k, draw in enumerate(draws):
        migration = base
        if family is not None and question.draws > 1:
            migration = replace(base, workload=family(np.random.default_rng((question.seed, k))))
        result = simulate(draw.of(migration), seed=draw.seed)
        simulated.append(_DrawResult(result, figures_of_draw(result)))
        if progress:
            progress(k + 1, question.draws)
    return _summarise(simulated, question, workload)


def _summarise(simulated: list[_DrawResult], question: Question, workload: Workload) -> Prediction:
    """Return the outcome of most draws, the one of these draws that is nearest their medians, and their middle 80 %."""
    completed = [d for d in simulated if d.result.outcome.status == "completed"]
    fraction = len(completed) / len(simulated)
    status = "completed" if fraction >= 0.5 else "not-converged"
    kept = [d for d in simulated if d.result.outcome.status == status]
    table = np.array([[d.figures[name] for name in INTERVALS] for d in kept])
    middle = np.median(table, axis=0)
    weights = np.array([WEIGHTS.get(name, 0.0) for name in INTERVALS])
    distance = np.nansum(weights * np.abs(table - middle) / np.maximum(np.abs(middle), 1e-9), axis=1)
    central = kept[int(np.argmin(distance))].result
    low = np.percentile(table, LOW_PERCENT, axis=0, method="lower")
    high = np.percentile(table, HIGH_PERCENT, axis=0, method="higher")
    intervals = {
        name: (float(a), float(b)) for name, a, b in zip(INTERVALS, low, high, strict=True) if np.isfinite(a)
    }
    return Prediction(
        question=question,
        result=central.replace(intervals=intervals),
        completed_fraction=fraction,
        assumptions=question.assumptions_of(workload),
        draws=tuple(d.figures for d in kept),
        fit=question.fit,
        runs=tuple(d.result for d in kept),
    )
