"""Why nothing meets what is required: which requirement binds, and what the best value reaches."""

from __future__ import annotations

import numpy as np

from migsim.study.requirement import COMPLETES, Requirement
from migsim.study.size_range import Tried
from migsim.study.sweep_text import format_value

__all__ = ["why_impossible"]


def why_impossible(tried: Tried) -> str:
    """Return a sentence or two: the binding requirement and the best that is reached, or which two are at odds."""
    axis = tried.axis
    low, high = (format_value(tried.values[k].item(), axis.unit) for k in (0, -1))
    head = f"Impossible: no {axis.name} from {low} to {high} meets"
    share = f"in {tried.confidence:.0%} of the draws"
    asked = (COMPLETES, *(r for r in tried.requirements if r != COMPLETES))
    alone = {r: tried.will_do(r) for r in asked}
    never = [r for r in asked if not alone[r].any()]
    if not never:
        places = "; ".join(f"{r} takes {_where(tried, alone[r])}" for r in tried.requirements)
        return f"{head} all requirements together {share}, though each can be met alone: {places}."
    binding = min(never, key=lambda r: (r != COMPLETES, float(tried.met(r).max())))
    if binding == COMPLETES:
        best = int(np.argmax(tried.met(COMPLETES)))
        most = tried.met(COMPLETES)[best]
        at = f" (at {format_value(tried.values[best].item(), axis.unit)})" if most else ""
        return f"{head} {binding} {share}: at best {most:.0%} of them complete before the deadline{at}."
    best = _best(tried, binding)
    reached = binding.reached(tried.drawn, best, tried.confidence)
    return (
        f"{head} {binding} {share}: the best {binding.figure} that {tried.confidence:.0%} of them keep to is "
        f"{binding.write(reached)}, at {format_value(tried.values[best].item(), axis.unit)}."
    )


def _best(tried: Tried, binding: Requirement) -> int:
    reached = [binding.reached(tried.drawn, k, tried.confidence) for k in range(len(tried.values))]
    return int(np.argmin(reached))


def _where(tried: Tried, good: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    """Where a requirement is met, by its ends."""
    values = tried.values[good]
    least, most = (format_value(values[k].item(), tried.axis.unit) for k in (0, -1))
    if good[-1] and not good[0]:
        return f"{least} or more"
    if good[0] and not good[-1]:
        return f"{most} or less"
    return "any" if good.all() else f"{least} to {most}"
