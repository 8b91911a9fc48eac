"""Predictions: one migration, simulated once for each draw of the uncertain inputs of guest and host."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from migsim.html import html_list, html_table
from migsim.intervals import HIGH_PERCENT, LOW_PERCENT
from migsim.results import MigrationResult, Outcome, Status
from migsim.results.figures import COMPARED, INTERVALS
from migsim.results.render import figure_label, format_figure
from migsim.results.standing import STANDING, standing_figures
from migsim.study.basis import Basis, first_pass_warning, short_trace_warning, short_window_warning
from migsim.study.draw_runs import DrawRun, DrawRuns
from migsim.study.draws import draw_all
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.units import format_bytes, format_duration_s, format_two_figures
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.trace import Trace

__all__ = ["Prediction", "predict"]


WEIGHTS = {
    "total-time": 4.0,
    "downtime": 2.0,
    "transferred": 2.0,
    "rounds": 0.5,
    "round": 2.0,
    "left": 4.0,
    "newly-dirty": 2.0,
}
"""How much each figure counts where the draw nearest the medians is chosen."""


@dataclass(frozen=True)
class Prediction:
    """The predicted migration: verdict, medians of the draws with 80 % intervals, and what they stand on.

    The medians are the point estimate, in tables, JSON, pictures and comparisons. `example_run` is one of the draws,
    for what only a single run shows: its rounds, its course over time.

    Attributes
    ----------
    outcome : Outcome
        How most draws end, and why, by the medians.
    completed_fraction : float
        Share of the draws that completed before the deadline.
    medians : dict of str to float
        Medians of the figures over the draws that end like most: `migsim.results.figures.INTERVALS` where these
        complete, `migsim.results.standing.STANDING` where they do not. NaN where no draw has a figure.
    intervals : dict of str to (float, float)
        The middle 80 % of the draws, by figure.
    basis : Basis
        What the answer stands on, with warnings.
    assumptions : tuple of str
        What the model takes for granted or leaves out, a sentence each.
    draws : tuple of dict
        Figures of every draw that ended like most (see `migsim.study.draws.figures_of_draw`).
    example_run : MigrationResult
        The draw nearest the medians.
    question : Question, optional
        The question that was asked.
    fit : WorkloadFit, optional
        The fit of the trace; None for a workload.
    runs : tuple of MigrationResult
        Results of the same draws. Their tables are computed on first access, because most are never read. Where draws
        take long (see `migsim.study.draw_runs`), `downtime_parts_ms` of all but the example run is empty.
    """

    outcome: Outcome
    completed_fraction: float
    medians: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    basis: Basis
    assumptions: tuple[str, ...]
    draws: tuple[dict[str, float], ...]
    example_run: MigrationResult
    question: Question | None = None
    fit: WorkloadFit | None = None
    runs: tuple[MigrationResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.example_run.name

    @property
    def verdict(self) -> str:
        """How the migration is predicted to end."""
        return self.outcome.status

    def metrics(self) -> dict[str, float]:
        """Return the medians that predictions are compared with records by (`migsim.results.figures.COMPARED`)."""
        return {name: self.medians.get(name, math.nan) for name in COMPARED}

    @property
    def guest_speeds(self) -> tuple[pd.DataFrame, ...]:
        """The guest's speed over time in each draw: see `migsim.study.guest_performance`."""
        return tuple(run.guest_speed for run in self.runs)

    def median(self, name: str) -> float:
        """Return the median of one figure over the draws that have it; NaN where none does."""
        values = [d[name] for d in self.draws if name in d]
        return float(np.median(values)) if values else float("nan")

    def to_json_object(self) -> dict[str, Any]:
        """Return the answer as plain data; ``example-run`` is `query-migrate`'s object of one draw."""
        run = self.example_run
        return {
            "outcome": self.outcome.status,
            "reason": self.outcome.reason,
            "completed-fraction": self.completed_fraction,
            "medians": {name: value for name, value in self.medians.items() if value == value},
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "basis": self.basis.as_dict(),
            "assumptions": list(self.assumptions),
            "example-run": {
                **run.info,
                "downtime-parts": dict(run.downtime_parts_ms),
                "costs": dict(run.costs),
            },
        }

    def _interval_text(self, name: str) -> str:
        return " to ".join(format_figure(name, end) for end in self.intervals.get(name, ()))

    def __repr__(self) -> str:
        return f"<Prediction {self.outcome.status}: {self.outcome.reason}>"

    def _repr_html_(self) -> str:
        rows = [
            (figure_label(name), format_figure(name, value), self._interval_text(name))
            for name, value in self.medians.items()
            if value == value
        ]
        caption = (
            f"{self.name} {self.outcome.status} ({self.completed_fraction:.0%} of the draws complete)".strip()
        )
        return (
            f"<div>{html_table(caption, ('', 'median', '80 % interval'), rows)}<p>{escape(self.outcome.reason)}</p>"
            f"{html_list('Stands on', self.basis.sentences)}{html_list('Assumed', self.assumptions)}</div>"
        )


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
    >>> predict(idle, qemu_version="10.0", settings={"max-bandwidth": "1Gbps"}, draws=3).outcome.status
    'completed'
    """
    question = Question.of(guest, **keywords)
    workload = question.workload()
    base = question.migration(workload)
    simulated: list[DrawRun] = []
    runs = DrawRuns(question.draws)
    draws = draw_all(question.host, workload.writes_spread, question.draws, question.seed)
    for k, draw in enumerate(draws):
        migration = base
        if family is not None and question.draws > 1:
            migration = replace(base, workload=family(np.random.default_rng((question.seed, k))))
        simulated.append(runs.simulate(draw.of(migration), draw.seed))
        if progress:
            progress(k + 1, question.draws)
    return _summarise(simulated, question, workload)


def _summarise(simulated: list[DrawRun], question: Question, workload: Workload) -> Prediction:
    """Return the outcome of most draws, the medians and the middle 80 % of these, and the one nearest the medians."""
    completed = [d for d in simulated if d.result.outcome.status == "completed"]
    fraction = len(completed) / len(simulated)
    status: Status = "completed" if fraction >= 0.5 else "not-converged"
    kept = [d for d in simulated if d.result.outcome.status == status]
    if status == "completed":
        names: tuple[str, ...] = INTERVALS
        draws = [d.figures for d in kept]
    else:
        names = tuple(STANDING)
        draws = [d.figures | _standing(d.result, question) for d in kept]
    table = np.array([[d.get(name, math.nan) for name in names] for d in draws])
    known = np.isfinite(table).all(axis=0)
    middle = np.median(table, axis=0)
    weights = np.array([WEIGHTS.get(name, 0.0) for name in names])
    distance = np.nansum(weights * np.abs(table - middle) / np.maximum(np.abs(middle), 1e-9), axis=1)
    low = np.percentile(table, LOW_PERCENT, axis=0, method="lower")
    high = np.percentile(table, HIGH_PERCENT, axis=0, method="higher")
    medians = dict(zip(names, map(float, middle), strict=True))
    example = kept[int(np.argmin(distance))].in_detail()
    basis = question.basis.with_warnings(short_window_warning(question, medians.get("rounds", math.nan)))
    if status == "completed":
        basis = basis.with_warnings(first_pass_warning(question, [d.result for d in kept]))
        basis = basis.with_warnings(short_trace_warning(question, medians["total-time"] / 1000))
    return Prediction(
        outcome=Outcome(status, _reason(status, medians, kept, question)),
        completed_fraction=fraction,
        medians=medians,
        intervals={
            name: (float(a), float(b)) for name, a, b, k in zip(names, low, high, known, strict=True) if k
        },
        basis=basis,
        assumptions=question.assumptions_of(workload),
        draws=tuple(draws),
        example_run=example,
        question=question,
        fit=question.fit,
        runs=tuple(d.result for d in kept),
    )


def _standing(result: MigrationResult, question: Question) -> dict[str, float]:
    parameters = question.settings.effective(question.qemu_version)
    return standing_figures(
        result,
        downtime_limit_ms=parameters["downtime-limit"],
        switchover_bytes_per_s=parameters.get("avail-switchover-bandwidth") or 0.0,
    )


def _reason(status: Status, medians: Mapping[str, float], kept: list[DrawRun], question: Question) -> str:
    """Say why most draws end as they do, by their medians."""
    if status == "completed":
        left = float(np.median([d.result.outcome.left_bytes or 0.0 for d in kept]))
        rounds = medians["rounds"]
        return f"After {rounds:.0f} bitmap syncs {format_bytes(left)} are left when the guest is stopped."
    if medians["round"] != medians["round"]:
        total = kept[0].result.info["ram"]["total"]
        return (
            f"The first pass over {format_bytes(total)} of RAM is not done after "
            f"{format_duration_s(question.deadline_s)}, the deadline."
        )
    over = medians["left"] / max(medians["threshold"], 1.0)
    times = format_two_figures(over)
    length, dirty, most = (format_figure(name, medians[name]) for name in ("round", "left", "threshold"))
    return (
        f"A round of {length} leaves {dirty} or more dirty, {times} times the switchover threshold of {most}."
    )
