"""The sensitivity of a predicted figure to each uncertain input: Sobol indices, and the figure at each input's ends.

The inputs are the independent standard normal deviates that every draw is made of (see `migsim.study.draws`): one for
each term of the host, one that all host times share, and one for the guest's activity. With V the variance of a figure
over all inputs,

    first order   S_i = V[E[figure | x_i]] / V          share of V that goes when input i is known
    total         T_i = E[V[figure | all but x_i]] / V  share of V that stays when all inputs but i are known

Leaves out: chance in the dirty counts, which is not an input. Its variance is given beside V.

Source: A. Saltelli et al., Computer Physics Communications 181 (2010) 259-270; scipy.stats.sobol_indices.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from migsim.engine.batch.grid import simulate_many
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError, near_misses
from migsim.html import html_list, html_table
from migsim.intervals import HIGH_PERCENT, LOW_PERCENT, NORMAL_DEVIATE, low_median_high
from migsim.profiles.terms import TERMS
from migsim.results.figures import FIGURES
from migsim.study.basis import Basis, basis_html
from migsim.study.draws import Draw, draw_all, draw_at
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.study.sweep.cells import CellResults
from migsim.units import read_count
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["ACTIVITY", "COMMON", "Sensitivity", "sensitivity"]

Floats = NDArray[np.float64]

COMMON = "host"
"""Common factor of all host times: a slow machine tends to be slow at everything."""
ACTIVITY = "writes"
"""The guest's activity: the spread of its write rates over the trace. Printed as "writes"."""
MOST_LACKING = 0.05
"""Share of the samples that may lack the figure; they get the largest figure of the others."""
CHANCE_DRAWS = 64
"""Draws of the dirty counts, with every input at its median."""
RESAMPLES = 199
"""Bootstrap resamples behind the intervals of the total indices."""


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity:
    """A figure's sensitivity to each uncertain input.

    Attributes
    ----------
    figure : str
    unit : str
    median : float
        The figure with every input at its median.
    table : pandas.DataFrame
        One row per input, the largest total index first: ``input``, ``meaning``; ``low``, ``high``: the figure with
        this input at its 10 % and 90 % quantile and the others at their medians; ``first``, ``total``: Sobol indices;
        ``total-low``, ``total-high``: 80 % bootstrap interval of ``total``.
    interval : tuple of float
        Middle 80 % of the figure over the samples.
    chance_fraction : float
        Variance by chance in the dirty counts, over the sum of that variance and V.
    completed_fraction : float
        Share of the samples that completed.
    basis : Basis, optional
        What the answer stands on, with warnings.
    assumptions : tuple of str
        What the model takes for granted or leaves out, a sentence each.
    notes : tuple of str
        Remarks on the samples, a sentence each.
    """

    figure: str
    unit: str
    median: float
    table: pd.DataFrame
    interval: tuple[float, float]
    chance_fraction: float
    completed_fraction: float
    basis: Basis | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json_object(self) -> dict[str, Any]:
        """Return the figure, its inputs and indices as plain data."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "median": self.median,
            "interval": list(self.interval),
            "chance-fraction": self.chance_fraction,
            "completed-fraction": self.completed_fraction,
            "inputs": self.table.to_dict("records"),
            "basis": self.basis.as_dict() if self.basis else None,
            "assumptions": list(self.assumptions),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        first = self.table.iloc[0]
        return (
            f"<Sensitivity {self.figure} hangs most on {first['input']} (total index {first['total']:.2f})>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (r["input"], r["meaning"], *(f"{r[n]:,.4g}" for n in ("low", "high", "first", "total")))
            for r in self.table.to_dict("records")
        ]
        head = ("input", "", "at its 10 %", "at its 90 %", "first order", "total")
        caption = f"{self.figure} [{self.unit}], {self.median:,.4g} at the medians"
        notes = (
            html_list("Notes", self.notes) + basis_html(self.basis) + html_list("Assumed", self.assumptions)
        )
        return f"<div>{html_table(caption, head, rows)}{notes}</div>"


@takes_question()
def sensitivity(
    guest: Question | Trace | Workload | str | os.PathLike[str],
    *,
    of: str = "downtime",
    samples: int = 128,
    progress: Callable[[int, int], None] | None = None,
    **keywords: Unpack[QuestionKeywords],
) -> Sensitivity:
    """Rank the uncertain inputs by their share in the variance of one figure of a guest's migration.

    Parameters
    ----------
    guest : Question, Trace, Workload or path
        The guest, or a question about it.
    of : str
        ``downtime``, ``total-time``, ``transferred``, ``guest-lost``, ``blackout``, ``rounds``, or ``outcome`` (1
        where the migration completes, else 0).
    samples : int
        N, a power of two: N (inputs + 2) migrations are simulated, at expected dirty counts, in place of the question's
        draws.
    progress : callable, optional
        Called with (done, of) migrations.
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, seed, ...

    Raises
    ------
    ParameterError
        Where no input is uncertain, or too few samples complete and so have the figure.
    UnitError, ProfileError, TraceError

    Examples
    --------
    >>> sensitivity("db.trace", of="downtime").table.head()      # doctest: +SKIP
    """
    if of not in (*FIGURES, "outcome"):
        raise ParameterError(
            f"{of!r} is no figure of a migration.",
            f"Figures are {', '.join(FIGURES)}, and outcome.",
            near_misses(of, [*FIGURES, "outcome"]) or "Choose one of them.",
        )
    samples = read_count("samples", samples)
    if samples < 2 or samples & (samples - 1):
        raise ParameterError(
            f"samples is {samples}.", "A Sobol sequence is balanced at powers of two.", "Give 128 or 256."
        )
    question = Question.of(guest, **keywords)
    answer = _Study(question.about(question.workload()), of, samples, progress).answer()
    return replace(answer, basis=question.basis)


def _inputs(question: Question, base: SimulationInput) -> tuple[str, ...]:
    """Return the names of the uncertain inputs."""
    terms = question.host.terms
    spread = {name for name, term in terms.items() if name in base.terms and term.spread and term.median} - {
        "dirty_fault_s"
    }
    common = any(terms[name].unit.startswith("s") for name in spread)
    inputs = [COMMON] * common + sorted(spread) + [ACTIVITY] * (base.workload.writes_spread > 0)
    if not inputs:
        raise ParameterError(
            "Neither the host profile nor the workload has a spread.",
            "A sensitivity needs at least one uncertain input.",
            "Measure the host with several repeats (`migsim calibrate host`).",
        )
    return tuple(inputs)


class _Study:
    """The simulations behind one answer."""

    def __init__(
        self,
        question: Question,
        figure: str,
        samples: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.question = question
        self.base = question.migration()
        self.figure = figure
        self.inputs = _inputs(question, self.base)
        self.samples = samples
        self.progress = progress
        self.notes: list[str] = []
        self.done = 0
        self.completed: list[NDArray[np.bool_]] = []

    def answer(self) -> Sensitivity:
        import pandas as pd
        from scipy.stats import norm, sobol_indices

        at_ends = self._figure_at_ends()
        sampled: list[Floats] = []
        d = len(self.inputs)

        def figures(deviates: Floats) -> Floats:
            values = self._figures(deviates.T[:, :d])
            sampled.append(values.copy())  # scipy centres the returned array in place
            return values

        normal: Any = norm()
        width = max(d, 2)  # scipy needs two inputs; figures() ignores the added one
        result = sobol_indices(
            func=figures,
            n=self.samples,
            dists=[normal] * width,
            rng=np.random.default_rng(self.question.seed),
        )
        over_all = np.concatenate(sampled[:2])
        variance = float(np.var(over_all))
        low, _, high = low_median_high(over_all)
        first, total = (np.ravel(v)[:d] for v in (result.first_order, result.total_order))
        total_low, total_high = self._bootstrap_ends(
            sampled[0], sampled[1], sampled[2].reshape(self.samples, width).T[:d]
        )
        table = pd.DataFrame(
            {
                "input": self.inputs,
                "meaning": [self._meaning(name) for name in self.inputs],
                "low": at_ends[1 : 1 + d],
                "high": at_ends[1 + d :],
                "first": first,
                "total": total,
                "total-low": total_low,
                "total-high": total_high,
            }
        ).sort_values("total", ascending=False, ignore_index=True, kind="stable")
        chance = float(np.var(self._chance()))
        completed = float(np.mean(np.concatenate(self.completed[1:3])))
        if self.completed[0][0] and not variance:
            self.notes.append(f"{self.figure} is the same whatever the inputs.")
        return Sensitivity(
            figure=self.figure,
            unit="1" if self.figure == "outcome" else FIGURES[self.figure].unit,
            median=float(at_ends[0]),
            table=table,
            interval=(low, high),
            chance_fraction=chance / (chance + variance) if chance + variance else 0.0,
            completed_fraction=completed,
            assumptions=(*self.question.assumptions, *self.question.without_users()),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _bootstrap_ends(self, a: Floats, b: Floats, ab: Floats) -> tuple[Floats, Floats]:
        """Return the 80 % bootstrap interval of each total index; scipy's own bootstrap cannot be seeded."""
        rng = np.random.default_rng(self.question.seed)
        chosen = rng.integers(0, self.samples, (RESAMPLES, self.samples))
        variance = np.var(np.concatenate([a[chosen], b[chosen]], axis=1), axis=1)
        remaining = 0.5 * np.mean(((a - ab) ** 2)[:, chosen], axis=2)
        totals = np.divide(remaining, variance, out=np.zeros_like(remaining), where=variance > 0)
        return np.percentile(totals, LOW_PERCENT, axis=1), np.percentile(totals, HIGH_PERCENT, axis=1)

    def _figure_at_ends(self) -> Floats:
        """Return the figure at the medians, then with each input alone at its 10 %, then at its 90 % quantile."""
        d = len(self.inputs)
        rows = np.concatenate([np.zeros((1, d)), -NORMAL_DEVIATE * np.eye(d), NORMAL_DEVIATE * np.eye(d)])
        return self._figures(rows)

    def _chance(self) -> Floats:
        """Return the figure of draws that differ in the dirty counts alone, every input at its median."""
        median = Draw(self.question.host.medians())
        seeds = [draw.seed for draw in draw_all(self.question.host, 0.0, CHANCE_DRAWS, self.question.seed)]
        return self._simulate([median] * CHANCE_DRAWS, seeds)

    def _figures(self, deviates: Floats) -> Floats:
        """Return the figure of each row of deviates."""
        draws = [self._draw(dict(zip(self.inputs, row, strict=True))) for row in deviates.tolist()]
        return self._simulate(draws, None)

    def _draw(self, deviates: dict[str, float]) -> Draw:
        log_writes = deviates.pop(ACTIVITY, 0.0) * self.base.workload.writes_spread
        return draw_at(self.question.host, deviates.pop(COMMON, 0.0), deviates, log_writes)

    def _simulate(self, draws: list[Draw], seeds: list[int | None] | None) -> Floats:
        result = simulate_many([draw.of(self.base) for draw in draws], seeds=seeds)
        drawn = CellResults.empty(1, len(draws))
        drawn.store_draw(0, np.arange(len(draws)), result)
        self.completed.append(result.completed)
        self.done += len(draws)
        if self.progress:
            d = len(self.inputs)
            self.progress(self.done, self.samples * (d + 2) + 2 * d + 1 + CHANCE_DRAWS)
        if self.figure == "outcome":
            return result.completed.astype(float)
        return self._filled(drawn.figures[self.figure][0])

    def _filled(self, values: Floats) -> Floats:
        """Give migrations that lack the figure the largest one of the others; raise where too many lack it."""
        lacking = ~np.isfinite(values)
        if not lacking.any():
            return values
        if lacking.mean() > MOST_LACKING:
            raise ParameterError(
                f"{lacking.mean():.0%} of the sampled migrations have no {self.figure}.",
                "Only migrations that complete have it.",
                "Ask about the outcome (of='outcome', --of outcome), or change the settings so that they converge.",
            )
        self.notes.append(
            f"Some samples ({lacking.mean():.1%}) have no {self.figure}; they count as the largest one seen."
        )
        return np.where(lacking, np.max(values[~lacking]), values)

    def _meaning(self, name: str) -> str:
        meanings = {COMMON: "what the host's times have in common", ACTIVITY: "the guest's activity"}
        return meanings.get(name) or TERMS[name].meaning
