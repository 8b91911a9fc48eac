"""A guest's users during its migration: transactions over time, transactions lost, the longest response time.

Each draw of a prediction has the guest's speed over time (`MigrationResult.guest_speed`). A closed loop of users is
computed for each such course in two ways: as an expectation (`migsim.models.users.course`), and as simulated users
(`migsim.engine.users`), which show how far a single run may lie from the expectation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from migsim.engine.users import Transactions, simulate_users, transactions_band
from migsim.errors import ParameterError
from migsim.intervals import low_median_high
from migsim.models.users.closed_loop import UserLoop
from migsim.models.users.course import expected_course
from migsim.models.users.speed_course import SpeedCourse
from migsim.results import MigrationResult

if TYPE_CHECKING:
    import pandas as pd

    from migsim.study.predict import Prediction

__all__ = ["GuestPerformance", "guest_performance", "guest_speed", "lost_by_draw"]

Floats = NDArray[np.float64]

STEP_S = 0.02
"""Time step of the expected transactions."""
MOST_TRANSACTIONS = 200_000
"""About how many transactions are simulated one by one. The first four draws are always simulated."""

LONGEST_WINDOW_S = 300.0
"""The longest window that is chosen by itself; a migration that does not end would have none."""

AFTER_S = 10.0
"""Time added after the last draw's end, in which the users who queued up are served."""


def guest_speed(run: MigrationResult | Prediction) -> pd.DataFrame:
    """Return the guest's speed over time in a simulated migration, or in the middle draw of a prediction.

    Returns
    -------
    pandas.DataFrame
        ``t_s``, ``until_s``, ``speed_fraction``, ``work_per_s``, ``why``: see `migsim.results.guest_speed`. The
        integral of ``work_per_s`` is the work that the guest has done; elapsed time less that integral is
        ``costs["guest-lost-s"]``. Empty for a measured run.

    Examples
    --------
    >>> guest_speed(migsim.predict(trace, host=host)).tail(1)["why"].item()            # doctest: +SKIP
    'blackout'
    """
    return run.guest_speed if isinstance(run, MigrationResult) else run.example_run.guest_speed


@dataclass(frozen=True)
class GuestPerformance:
    """The predicted transactions of a guest's users during a migration.

    Attributes
    ----------
    loop : UserLoop
    window_s : float
        Length of the window that the figures cover, from QMP ``migrate`` on.
    over_time : pandas.DataFrame
        As `migsim.engine.users.transactions_band` makes it from all draws, without the minute before QMP ``migrate``;
        with ``middle_per_s``, the expectation in the middle draw (for ``all``).
    middle : pandas.DataFrame
        The middle draw's speed over time.
    draws : tuple of dict
        For each draw: ``lost``, the expected number of lost transactions, and ``least-per-s``, the fewest in an
        interval; from simulated users, ``lost-in-a-run`` and ``longest-response`` [s]. Where all draws would have more
        than 200,000 transactions, users are simulated for the first draws only.
    intervals : dict of str to (float, float)
        The middle 80 % of the draws.
    assumptions : tuple of str
    """

    loop: UserLoop
    window_s: float
    over_time: pd.DataFrame
    middle: pd.DataFrame
    draws: tuple[dict[str, float], ...]
    intervals: dict[str, tuple[float, float]]
    assumptions: tuple[str, ...]

    @property
    def medians(self) -> dict[str, float]:
        """Medians of the draws: the point prediction."""
        return {name: float(np.median(values)) for name, values in _by_name(self.draws).items()}

    @property
    def before_per_s(self) -> float:
        """Transactions a second when nothing slows the guest."""
        return self.loop.steady().throughput_per_s

    def to_json_object(self) -> dict[str, Any]:
        """Return the users, their transactions a second before the migration, and the figures with 80 % intervals."""
        return {
            "users": self.loop.users,
            "window-s": self.window_s,
            "transactions-per-s": self.before_per_s,
            "response-s": self.loop.steady().response_s,
            "medians": self.medians,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "assumptions": list(self.assumptions),
        }

    def __repr__(self) -> str:
        low, high = self.intervals["lost-in-a-run"]
        return (
            f"<GuestPerformance of {self.loop.users} users: {self.before_per_s:.1f} transactions a second, "
            f"{self.medians['lost']:.0f} lost ({low:.0f} .. {high:.0f}) in {self.window_s:.0f} s>"
        )


def guest_performance(
    prediction: Prediction,
    loop: UserLoop | None = None,
    *,
    window_s: float | None = None,
    interval_s: float = 1.0,
    seed: int | None = None,
) -> GuestPerformance:
    """Predict the transactions of a guest's users while it is migrated.

    Parameters
    ----------
    prediction : Prediction
    loop : UserLoop, optional
        Fitted by `migsim.calibrate.users.fit_loop`, or declared; by default the question's users.
    window_s : float, optional
        Length of the window from QMP ``migrate`` on. By default it ends 10 s after the guest of the last draw runs at
        the destination, and after 300 s at the latest.
    interval_s : float
        Length of the intervals in which transactions are counted.
    seed : int, optional
        Seed of the simulated users; by default the question's.

    Raises
    ------
    ParameterError
        When there are no users, when the prediction has no speeds, or for a window or interval that is not above 0.

    Examples
    --------
    >>> loop = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005)
    >>> guest_performance(prediction, loop).medians["lost"]            # doctest: +SKIP
    """
    question = prediction.question
    loop = loop or (question.users if question else None)
    if loop is None:
        raise ParameterError(
            "No users are given.",
            "Their transactions follow from how many users there are and how much CPU time a transaction needs.",
            "Give a UserLoop, here or with the question (users=...).",
        )
    seed = seed if seed is not None else question.seed if question else 1
    courses = [SpeedCourse.from_guest_speed(frame) for frame in prediction.guest_speeds]
    window = _window_s(courses, window_s, interval_s)
    grid = np.linspace(0.0, window, max(round(window / interval_s), 1) + 1)
    expected = _completed(
        loop, [SpeedCourse.from_guest_speed(prediction.example_run.guest_speed), *courses], grid
    )
    simulated = max(4, int(MOST_TRANSACTIONS / (loop.steady().throughput_per_s * window)))
    runs = [
        simulate_users(loop, course, window, seed=seed + k) for k, course in enumerate(courses[:simulated])
    ]
    draws = tuple(
        _expected_figures(loop, grid, done) | (_run_figures(loop, grid, runs[k]) if k < len(runs) else {})
        for k, done in enumerate(expected[1:])
    )
    over_time = transactions_band(runs, grid)
    whole = over_time["operation"] == "all"
    over_time.loc[whole, "middle_per_s"] = np.diff(expected[0]) / np.diff(grid)
    return GuestPerformance(
        loop=loop,
        window_s=window,
        over_time=over_time,
        middle=prediction.example_run.guest_speed,
        draws=draws,
        intervals={name: _interval(values) for name, values in _by_name(draws).items()},
        assumptions=(*prediction.assumptions, *_notes(loop, prediction, window)),
    )


def lost_by_draw(prediction: Prediction, loop: UserLoop, *, window_s: float) -> Floats:
    """Return the expected number of lost transactions in each draw, in the first `window_s` from QMP ``migrate`` on.

    The figure ``lost`` of `guest_performance`, computed without simulated users.

    Raises
    ------
    ParameterError
        As `guest_performance`.
    """
    courses = [SpeedCourse.from_guest_speed(frame) for frame in prediction.guest_speeds]
    grid = np.array([0.0, _window_s(courses, window_s, window_s)])
    return loop.steady().throughput_per_s * window_s - _completed(loop, courses, grid)[:, -1]


def _window_s(courses: list[SpeedCourse], window_s: float | None, interval_s: float) -> float:
    if not courses:
        raise ParameterError(
            "The prediction has no guest speeds.",
            "They come with the draws that migsim.predict keeps.",
            "Predict the migration with migsim.predict.",
        )
    window = window_s
    if window is None:
        ends_s = min(max(c.end_s for c in courses) + AFTER_S, LONGEST_WINDOW_S)
        window = float(np.ceil(ends_s / interval_s)) * interval_s if interval_s > 0 else ends_s
    if window > 0 and interval_s > 0:
        return window
    raise ParameterError(
        f"The window is {window:g} s, its intervals {interval_s:g} s.",
        "Both are above 0.",
        "Give times above 0.",
    )


def _completed(loop: UserLoop, courses: list[SpeedCourse], grid: Floats) -> Floats:
    """Expected number of transactions completed up to each time of the grid, shape (courses, n + 1)."""
    window = float(grid[-1])
    steps = np.linspace(0.0, window, max(int(np.ceil(window / STEP_S)), len(grid)) + 1)
    loop_courses = [course.without_stops() if loop.inside else course for course in courses]
    expected = expected_course(loop, np.array([course.mean_speed(steps) for course in loop_courses]), steps)
    rows = [
        np.interp(course.guest_clock_s(grid) if loop.inside else grid, steps, done)
        for course, done in zip(courses, expected.completed, strict=True)
    ]
    return np.array(rows)


def _expected_figures(loop: UserLoop, grid: Floats, expected: Floats) -> dict[str, float]:
    undisturbed = loop.steady().throughput_per_s * float(grid[-1])
    return {
        "lost": undisturbed - float(expected[-1]),
        "least-per-s": float((np.diff(expected) / np.diff(grid)).min()),
    }


def _run_figures(loop: UserLoop, grid: Floats, run: Transactions) -> dict[str, float]:
    undisturbed = loop.steady().throughput_per_s * float(grid[-1])
    return {
        "lost-in-a-run": undisturbed - float(run.completed(grid).sum()),
        "longest-response": float(run.response_s.max(initial=0.0)),
    }


def _by_name(draws: tuple[dict[str, float], ...]) -> dict[str, list[float]]:
    """Values of each figure over the draws that have it; the first draw has every figure."""
    return {name: [draw[name] for draw in draws if name in draw] for name in draws[0]}


def _interval(values: list[float]) -> tuple[float, float]:
    low, _, high = low_median_high(values)
    return low, high


def _notes(loop: UserLoop, prediction: Prediction, window_s: float) -> list[str]:
    """Return the assumptions about the users, a sentence each."""
    notes = [
        "The users are programs in the guest: they neither think on in the blackout nor see it."
        if loop.inside
        else "The users are outside the guest: they think on in the blackout and wait for its end.",
        "A transaction needs nothing but processor time; log faults are spread evenly over their round.",
    ]
    if (
        prediction.outcome.status != "completed"
        or max(f["until_s"].iloc[-1] for f in prediction.guest_speeds) > window_s
    ):
        notes.append(f"Of the migration the first {window_s:.0f} s are counted, not all of it.")
    return notes
