"""Users in a closed loop as SimPy processes, on a server whose speed changes.

A user thinks, asks for a transaction of a class drawn from the mix, waits for it, and thinks again. All transactions
under way share the server (processor sharing). Its speed follows a `SpeedCourse`, so a change of speed needs no event:
the end of the next transaction is looked up in the course. An event is the end of a think time or of a transaction.
The laws are `migsim.models.users.closed_loop` and `migsim.models.users.speed_course`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

from migsim.intervals import HIGH_PERCENT, LOW_PERCENT
from migsim.models.users.closed_loop import UserLoop
from migsim.models.users.speed_course import SpeedCourse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Transactions", "simulate_users", "transactions_band"]

Floats = NDArray[np.float64]

WARM_UP = 10.0
"""Cycles of thinking and waiting before time 0, so that the start leaves no trace."""


@dataclass(frozen=True)
class Transactions:
    """Transactions that the users of one simulated loop completed.

    Attributes
    ----------
    loop : UserLoop
    done_s, response_s : ndarray, shape (transactions,)
        When each was completed, by the wall clock, and how long its user waited, by the user's clock.
    operation : ndarray of int, shape (transactions,)
        Index into the loop's classes.
    until_s : float
        End of the simulated time, which begins at 0.
    busy_s : float
        vCPU time at full speed that the transactions got from time 0 on.
    waited_s : float
        Number of users who waited, integrated over that time, by the users' clock.
    """

    loop: UserLoop
    done_s: Floats
    response_s: Floats
    operation: NDArray[np.int64]
    until_s: float
    busy_s: float
    waited_s: float

    def frame(self) -> pd.DataFrame:
        """Return a table with a row a transaction: ``t_s``, ``operation``, ``response_s``."""
        import pandas as pd

        names = np.array([c.name for c in self.loop.classes])
        return pd.DataFrame(
            {"t_s": self.done_s, "operation": names[self.operation], "response_s": self.response_s}
        )

    def completed(self, grid_s: ArrayLike) -> NDArray[np.int64]:
        """Count transactions in each interval of a grid, shape (classes, n)."""
        count = len(self.loop.classes)
        rows = [np.histogram(self.done_s[self.operation == c], grid_s)[0] for c in range(count)]
        return np.array(rows, dtype=np.int64)

    def responses_s(self, grid_s: ArrayLike) -> tuple[Floats, Floats]:
        """Return sum and maximum of the response times of the transactions completed in each interval of a grid."""
        grid = np.asarray(grid_s, float)
        total = np.histogram(self.done_s, grid, weights=self.response_s)[0]
        longest = np.zeros(len(grid) - 1)
        cell = np.searchsorted(grid, self.done_s, side="right") - 1
        inside = (cell >= 0) & (cell < len(longest))
        np.maximum.at(longest, cell[inside], self.response_s[inside])
        return np.asarray(total, float), longest


def simulate_users(
    loop: UserLoop, course: SpeedCourse, until_s: float, *, seed: int, constant_demand: bool = False
) -> Transactions:
    """Simulate the users of a loop, warmed up at full speed, from time 0 on.

    Parameters
    ----------
    loop : UserLoop
        Users inside the guest live by its clock: the stops of the course stop them too.
    course : SpeedCourse
        The server's speed.
    until_s : float
        End of the simulated time, by the wall clock.
    seed : int
    constant_demand : bool
        Every transaction of a class needs the same service; else the service is exponentially distributed.

    Examples
    --------
    >>> loop = UserLoop.of_one_class(5, think_s=0.5, demand_s=0.01)
    >>> transactions = simulate_users(loop, SpeedCourse.constant(1.0, 20.0), 20.0, seed=1)
    >>> 170 < len(transactions.done_s) < 230
    True
    """
    inside = course.without_stops() if loop.inside else course
    end_s = float(course.guest_clock_s(until_s)) if loop.inside else until_s
    run = _Loop(loop, inside, end_s, np.random.default_rng(seed), constant_demand)
    run.simulate()
    done = np.array(run.done, float).reshape(-1, 3)
    kept = done[:, 0] <= end_s
    when = course.wall_s(done[kept, 0]) if loop.inside else done[kept, 0]
    return Transactions(
        loop, when, done[kept, 1], done[kept, 2].astype(np.int64), until_s, run.busy_s, run.waited_s
    )


def transactions_band(runs: Sequence[Transactions], grid_s: ArrayLike) -> pd.DataFrame:
    """Tabulate the transactions of several simulated loops over time, with the middle 80 % of the loops.

    Parameters
    ----------
    runs : sequence of Transactions
        Replications or draws of one loop.
    grid_s : array_like
        Ascending times.

    Returns
    -------
    pandas.DataFrame
        ``t_s``, ``until_s``, ``operation`` (each class, and ``all``), ``per_s`` (mean), ``low``, ``high``; the rows of
        ``all`` also have ``response_s`` (mean of all transactions) and ``longest_s`` (median of each loop's longest).
    """
    import pandas as pd

    grid = np.asarray(grid_s, float)
    lengths = np.diff(grid)
    counts = np.array([run.completed(grid) for run in runs]) / lengths  # (runs, classes, n)
    sums, longest = (np.array(part) for part in zip(*(run.responses_s(grid) for run in runs), strict=True))
    rates = np.concatenate([counts, counts.sum(axis=1, keepdims=True)], axis=1)
    low, high = np.percentile(rates, [LOW_PERCENT, HIGH_PERCENT], axis=0)
    names = [*(c.name for c in runs[0].loop.classes), "all"]
    done = (counts.sum(axis=1) * lengths).sum(axis=0)
    response = np.divide(sums.sum(axis=0), done, out=np.full(len(done), np.nan), where=done > 0)
    parts = []
    for k, name in enumerate(names):
        part = pd.DataFrame({"t_s": grid[:-1], "until_s": grid[1:], "operation": name})
        part = part.assign(per_s=rates[:, k].mean(axis=0), low=low[k], high=high[k])
        whole = name == "all"
        part["response_s"] = response if whole else np.nan
        part["longest_s"] = np.median(longest, axis=0) if whole else np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


class _Loop:
    """Users and server of one run; its time is that of the course, and begins before 0 with the warm-up."""

    def __init__(
        self,
        loop: UserLoop,
        course: SpeedCourse,
        until_s: float,
        rng: np.random.Generator,
        constant_demand: bool,
    ) -> None:
        self.loop, self.course, self.until_s, self.rng = loop, course, until_s, rng
        self.begin_s = -WARM_UP * (loop.think_s + loop.steady().response_s)
        self.env = simpy.Environment(initial_time=self.begin_s)
        self.cumulated = np.cumsum([c.mix_fraction for c in loop.classes])
        self.demands = [c.demand_s for c in loop.classes]
        self.constant_demand = constant_demand
        self.done: list[tuple[float, float, int]] = []
        self.busy_s = self.waited_s = 0.0
        self._given = 0.0  # service that a transaction under way since the start would have got
        self._at = self.begin_s
        self._under_way: list[tuple[float, int, simpy.Event]] = []
        self._asked = self._version = 0

    def simulate(self) -> None:
        """Run until the end."""
        for _ in range(self.loop.users):
            self.env.process(self._user())
        self.env.run(until=max(self.until_s, self.begin_s + 1e-9))
        self._advance()

    def _user(self) -> Generator[simpy.Event, Any, None]:
        env, rng, think_s = self.env, self.rng, self.loop.think_s
        yield env.timeout(0)
        while True:
            if think_s:
                yield env.timeout(rng.exponential(think_s))
            operation = min(int(np.searchsorted(self.cumulated, rng.random())), len(self.demands) - 1)
            need_s = self.demands[operation]
            asked_s = env.now
            yield self._ask(need_s if self.constant_demand else rng.exponential(need_s))
            if env.now >= 0:
                self.done.append((env.now, env.now - asked_s, operation))

    def _ask(self, need_s: float) -> simpy.Event:
        """Begin a transaction, and return the event of its end."""
        self._advance()
        ended = self.env.event()
        self._asked += 1
        heappush(self._under_way, (self._given + need_s, self._asked, ended))
        self._plan()
        return ended

    def _advance(self) -> None:
        """Give the transactions under way their share of the service since the last change."""
        now, waiting = self.env.now, len(self._under_way)
        if waiting and now > self._at:
            served = self.course.served_s(now) - self.course.served_s(self._at)
            self._given += served * min(1.0, self.loop.vcpus / waiting)
            if now > 0:
                begun = max(self._at, 0.0)
                part = self.course.served_s(now) - self.course.served_s(begun)
                self.busy_s += part * min(waiting, self.loop.vcpus)
                self.waited_s += waiting * (now - begun)
        self._at = now

    def _plan(self) -> None:
        """Wake up at the end of the next transaction; a change before then makes the wake-up void."""
        self._version += 1
        if not self._under_way:
            return
        left_s = max(self._under_way[0][0] - self._given, 0.0)
        served = self.course.served_s(self.env.now)
        served += left_s * max(1.0, len(self._under_way) / self.loop.vcpus)
        wake = self.env.timeout(max(self.course.when_s(served) - self.env.now, 0.0), self._version)
        wake.callbacks.append(self._wake)

    def _wake(self, wake: simpy.Event) -> None:
        """End the transactions that are done."""
        if wake.value != self._version:
            return
        self._advance()
        self._given = max(self._given, self._under_way[0][0])  # equal but for rounding
        while self._under_way and self._under_way[0][0] <= self._given:
            heappop(self._under_way)[2].succeed()
        self._plan()
