"""`size`: find the least or greatest value of one setting with which a migration meets requirements.

A value suffices where at least the share `confidence` of the draws meets every requirement. All values have the same
draws (common random numbers). The search does not assume that a larger value always helps: it first simulates a grid
over the whole range, then repeatedly divides the gap between the outermost value that suffices and its neighbour.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError
from migsim.html import html_list, html_table
from migsim.study.basis import Basis, basis_html
from migsim.study.quantities import read_jobs, read_share
from migsim.study.question import Question, QuestionKeywords, takes_question
from migsim.study.size.requirement import COMPLETES, Requirement, read_requirements
from migsim.study.size.trials import Trials, default_range
from migsim.study.sweep.axis import Axis
from migsim.study.sweep.plan import make_plan
from migsim.units import format_value
from migsim.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["Sizing", "size"]

GRID_VALUES = 17
"""Values over the whole range that are simulated first."""
GAP_VALUES = 6
"""Values that divide a gap at once."""
CLOSE = 0.002
"""Relative width at which a gap is no longer divided."""
SHOWN_ROWS = 9
"""Rows of the table that is shown to people."""
NEAR_BEST_ROUNDS = 2
"""How often values near the best one are simulated where no value of the grid suffices."""


@dataclass(frozen=True, eq=False, repr=False)
class Sizing:
    """The answer to a sizing.

    Attributes
    ----------
    axis : Axis
        The setting whose value was searched.
    least : bool
        Whether the least value was searched, or the greatest.
    value : int, float or None
        The value in the axis's unit; None where no value suffices.
    reason : str
        The answer in a sentence or two.
    requirements : tuple of Requirement
    confidence : float
        Share of the draws that has to meet all requirements.
    table : pandas.DataFrame
        All simulated values, ascending: ``value``, ``met`` (share of the draws that meets every requirement), a share
        for each requirement by its text, ``completed`` (whether most draws complete), and the median figures.
    basis : Basis, optional
        What the answer stands on, with warnings.
    assumptions : tuple of str
        What the model takes for granted or leaves out, a sentence each.
    notes : tuple of str
        Remarks on the search, a sentence each.
    """

    axis: Axis
    least: bool
    value: float | None
    reason: str
    requirements: tuple[Requirement, ...]
    confidence: float
    table: pd.DataFrame
    basis: Basis | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def at_value(self) -> dict[str, float]:
        """The answer's row of `table`; empty where no value suffices."""
        rows = self.table[self.table["value"] == self.value]
        return {str(k): float(v) for k, v in rows.iloc[0].items()} if len(rows) else {}

    def shown_rows(self, most: int = SHOWN_ROWS) -> list[dict[str, Any]]:
        """Return the answer's row of `table`, its neighbours, and others evenly spread."""
        last = len(self.table) - 1
        places = {round(k * last / (most - 1)) for k in range(most)} if last >= most else {*range(last + 1)}
        for place in np.flatnonzero(self.table["value"] == self.value):
            places |= {k for k in (place - 1, place, place + 1) if 0 <= k <= last}
        return [{str(k): v for k, v in self.table.iloc[k].items()} for k in sorted(places)]

    def to_json_object(self) -> dict[str, Any]:
        """Return the answer as plain data."""
        return {
            "name": self.axis.name,
            "unit": self.axis.unit,
            "goal": "minimise" if self.least else "maximise",
            "value": self.value,
            "reason": self.reason,
            "require": [str(r) for r in self.requirements],
            "confidence": self.confidence,
            "at-value": {k: v for k, v in self.at_value.items() if v == v},
            "basis": self.basis.as_dict() if self.basis else None,
            "assumptions": list(self.assumptions),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<Sizing {self.reason}>"

    def _repr_html_(self) -> str:
        shares = ["met", *(str(r) for r in self.requirements)]
        rows = [
            (format_value(row["value"], self.axis.unit), *(f"{row[name]:.0%}" for name in shares))
            for row in self.shown_rows()
        ]
        notes = (
            html_list("Notes", self.notes) + basis_html(self.basis) + html_list("Assumed", self.assumptions)
        )
        return f"<div>{html_table(self.reason, (self.axis.name, *shares), rows)}{notes}</div>"


@takes_question()
def size(
    guest: Question | Trace | Workload | str | os.PathLike[str],
    *,
    require: Iterable[str] | str,
    minimise: str | None = None,
    maximise: str | None = None,
    confidence: float | str = 0.8,
    jobs: int = 1,
    progress: Callable[[int, str], None] | None = None,
    **keywords: Unpack[QuestionKeywords],
) -> Sizing:
    """Find the least or greatest value of one setting that meets requirements.

    Parameters
    ----------
    guest : Question, Trace, Workload or path
        The guest, or a question about it.
    require : sequence of str
        ``"downtime<500ms"``, ``"total-time<10min"``, ``"transferred<20GiB"``, ``"guest-lost<2s"``,
        ``"outcome=completed"`` (which all others imply).
    minimise, maximise : str
        The setting whose value is searched, exactly one of the two: ``"max-bandwidth"``, or with a range or values,
        ``"max-bandwidth=1Gbps:25Gbps"``. Any number that `migsim.sweep` varies.
    confidence : float
        Share of the draws that has to meet all requirements.
    jobs : int
        Number of processes of this machine; -1 for one per processor.
    progress : callable, optional
        Called with the number of simulated values and a few words.
    **keywords
        The keywords of `migsim.Question`: host, settings, qemu_version, load, draws, seed, ...

    Returns
    -------
    Sizing

    Raises
    ------
    ParameterError, UnitError, ProfileError, TraceError

    Examples
    --------
    >>> size("db.trace", require=["downtime<500ms"], minimise="max-bandwidth").value      # doctest: +SKIP
    """
    requirements = read_requirements([require] if isinstance(require, str) else require)
    if (minimise is None) == (maximise is None):
        raise ParameterError(
            "Exactly one of minimise and maximise is needed.",
            "A sizing searches one value.",
            "Give one of them.",
        )
    share = read_share("confidence", confidence)
    jobs = read_jobs(jobs)
    question = Question.of(guest, **keywords)
    name, equals, text = (minimise or maximise or "").partition("=")
    vary = {name: text if equals else default_range(name, question.link_bytes_per_s)}
    plan, (axis,) = make_plan(question, vary=vary)
    if axis.kind == "choice":
        raise ParameterError(
            f"{name} is not a number.", "A sizing searches a number.", f"Sweep it: --vary {name}=..."
        )
    trials = Trials(plan, axis, requirements, share, jobs, progress)
    assumptions = (*question.assumptions_of(plan.workload), *question.without_users())
    sizing = _search(trials, least=minimise is not None)
    return replace(sizing, basis=question.basis, assumptions=assumptions)


def _search(trials: Trials, *, least: bool) -> Sizing:
    axis = trials.axis
    trials.add(_grid(axis))
    for _ in range(0 if axis.listed else NEAR_BEST_ROUNDS):
        if trials.suffices().any():
            break
        trials.add(_around(axis, trials.values, int(np.argmax(trials.share_met()))))
    while not axis.listed and trials.suffices().any():
        more = _gap(axis, trials, least)
        if not len(more):
            break
        trials.add(more)
    good = np.flatnonzero(trials.suffices())
    place = None if not len(good) else int(good[0] if least else good[-1])
    value = None if place is None else trials.values[place].item()
    word = "least" if least else "greatest"
    if place is None:
        reason = _why_impossible(trials)
    else:
        required = " and ".join(str(r) for r in trials.requirements)
        reason = (
            f"The {word} {axis.name} with {required} is {format_value(value, axis.unit)}: "
            f"{trials.share_met()[place]:.0%} of the draws meet that (asked: {trials.confidence:.0%})."
        )
    return Sizing(
        axis,
        least,
        value,
        reason,
        trials.requirements,
        trials.confidence,
        trials.table(),
        notes=tuple(_notes(trials, place, least)),
    )


def _grid(axis: Axis) -> NDArray[Any]:
    if axis.count:
        return np.unique(axis.values)
    return np.unique(axis.at(np.linspace(0, 1, GRID_VALUES)))


def _around(axis: Axis, values: NDArray[Any], place: int) -> NDArray[Any]:
    """Return new values between the value at `place` and its neighbours."""
    low, high = values[max(place - 1, 0)], values[min(place + 1, len(values) - 1)]
    return _between(axis, float(low), float(high), 2 * GAP_VALUES)


def _gap(axis: Axis, trials: Trials, least: bool) -> NDArray[Any]:
    """Return new values in the gap between the outermost value that suffices and its neighbour that does not."""
    good = np.flatnonzero(trials.suffices())
    inner = good[0] if least else good[-1]
    outer = inner - 1 if least else inner + 1
    if not 0 <= outer < len(trials.values):
        return trials.values[:0]
    low, high = sorted((float(trials.values[inner]), float(trials.values[outer])))
    if high - low <= CLOSE * high:
        return trials.values[:0]
    return _between(axis, low, high, GAP_VALUES)


def _between(axis: Axis, low: float, high: float, count: int) -> NDArray[Any]:
    """Return `count` values strictly between two, or fewer where rounding merges them."""
    inside = np.linspace(0, 1, count + 2)[1:-1]
    values = np.unique(
        Axis(axis.name, axis.unit, axis.kind, (), low, high, 0, axis.log, axis.whole).at(inside)
    )
    return values[(values > low) & (values < high)]


def _notes(trials: Trials, place: int | None, least: bool) -> Iterable[str]:
    axis, met = trials.axis, trials.share_met()
    if len(met) > 1 and trials.no_effect():
        yield f"{axis.name} changes nothing here: it plays no part in these migrations, or is not modelled."
    yield from trials.refusals()
    if place is None:
        return
    beyond = np.arange(place + 1, len(met)) if least else np.arange(place)
    bad = [k for k in beyond if not trials.suffices()[k]]
    if bad:
        worst = min(bad, key=lambda k: met[k])
        side = "greater" if least else "smaller"
        yield (
            f"Not every {side} value will do: at {format_value(trials.values[worst].item(), axis.unit)} only "
            f"{met[worst]:.0%} of the draws meet it."
        )
    outermost = place == 0 if least else place == len(met) - 1
    if outermost and not axis.listed:
        yield f"It is the end of the range that was looked at: {axis.name} may go further."


def _why_impossible(trials: Trials) -> str:
    """Return the binding requirement and its best bound, or the requirements that no value meets together, as text."""
    axis = trials.axis
    low, high = (format_value(trials.values[k].item(), axis.unit) for k in (0, -1))
    head = f"Impossible: no {axis.name} from {low} to {high} meets"
    share = f"in {trials.confidence:.0%} of the draws"
    required = (COMPLETES, *(r for r in trials.requirements if r != COMPLETES))
    alone = {r: trials.suffices(r) for r in required}
    never = [r for r in required if not alone[r].any()]
    if not never:
        places = "; ".join(f"{r} takes {_where_met(trials, alone[r])}" for r in trials.requirements)
        return f"{head} all requirements together {share}, though each can be met alone: {places}."
    binding = min(never, key=lambda r: (r != COMPLETES, float(trials.share_met(r).max())))
    if binding == COMPLETES:
        best = int(np.argmax(trials.share_met(COMPLETES)))
        most = trials.share_met(COMPLETES)[best]
        at = f" (at {format_value(trials.values[best].item(), axis.unit)})" if most else ""
        return f"{head} {binding} {share}: at best {most:.0%} of them complete before the deadline{at}."
    best = _best_value(trials, binding)
    reached = binding.reached(trials.results, best, trials.confidence)
    return (
        f"{head} {binding} {share}: the best {binding.figure} that {trials.confidence:.0%} of them keep to is "
        f"{binding.format(reached)}, at {format_value(trials.values[best].item(), axis.unit)}."
    )


def _best_value(trials: Trials, binding: Requirement) -> int:
    reached = [binding.reached(trials.results, k, trials.confidence) for k in range(len(trials.values))]
    return int(np.argmin(reached))


def _where_met(trials: Trials, good: NDArray[np.bool_]) -> str:
    """Return the values that meet a requirement, as text."""
    values = trials.values[good]
    least, most = (format_value(values[k].item(), trials.axis.unit) for k in (0, -1))
    if good[-1] and not good[0]:
        return f"{least} or more"
    if good[0] and not good[-1]:
        return f"{most} or less"
    return "any" if good.all() else f"{least} to {most}"
