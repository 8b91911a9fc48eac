"""`DrawRuns` simulates draws: on the event engine, or on the batch engine where that takes long.

The event engine is there at once; the batch engine has to be loaded, and compiled once an installation, and is then a
hundred times as fast. Once the draws of a question have taken `MOST_CALLS` iterate calls, the rest of them go to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migsim.engine.batch.columns import compiles
from migsim.engine.events.precopy import CallBudget, TooManyCallsError, simulate
from migsim.engine.inputs import SimulationInput
from migsim.results import MigrationResult
from migsim.study.draws import figures_of_draw

__all__ = ["DrawRun", "DrawRuns"]

MOST_CALLS = 100_000
"""Iterate calls of a question's draws on the event engine, some two seconds of processor time."""

FEWEST_DRAWS = 8
"""Draws of a question that are worth loading the batch engine for."""


@dataclass(frozen=True)
class DrawRun:
    """One simulated draw.

    Attributes
    ----------
    result : MigrationResult
    figures : dict of str to float
        See `migsim.study.draws.figures_of_draw`.
    in_detail : callable
        Returns the event engine's result.
    """

    result: MigrationResult
    figures: dict[str, float]
    in_detail: Callable[[], MigrationResult]


class DrawRuns:
    """Simulates the draws of one question.

    Parameters
    ----------
    count : int
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self.few = count < FEWEST_DRAWS
        self.calls = CallBudget(MOST_CALLS)

    def simulate(self, migration: SimulationInput, seed: int | None) -> DrawRun:
        """Simulate one draw."""
        if seed is None or self.few or not compiles(migration):
            return _in_events(simulate(migration, seed=seed))
        if self.calls.left > 0:
            try:
                return _in_events(simulate(migration, seed=seed, calls=self.calls))
            except TooManyCallsError:
                pass
        from migsim.engine.batch.one import simulate_compiled

        quick, throttled = simulate_compiled(migration, seed)
        return DrawRun(quick, figures_of_draw(quick, throttled), lambda: simulate(migration, seed=seed))


def _in_events(result: MigrationResult) -> DrawRun:
    return DrawRun(result, figures_of_draw(result), lambda: result)
