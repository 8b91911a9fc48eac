r"""What a closed loop of users completes while the server's speed changes: expectation, and the law of one blackout.

Law
---
With the speed :math:`v(t)` the chain of `migsim.models.users.closed_loop` has the rates :math:`(N-k)/Z` up and
:math:`v \min(k, m)/D` down; its chances follow :math:`\dot p = Q(v)^T p`. Who waits does not ask, so whatever `v` does

.. math:: \text{lost} = X_0 T - C(T) = \frac{1}{Z} \int_0^T (q - q_0)\,dt + q(T) - q(0)

transactions: the time that users wait more than usual, over their think time. Of a guest that was watched over `T`
with its clock going on for :math:`T_g` of it, of `n` answers that took `S` s together, and :math:`R_0` at rest,

.. math:: \text{lost} = \frac{N (T - T_g) + S - n R_0}{Z + R_0}

the same with the chance of the think times left out: :math:`X_0 T - n` lies from it by what the users thought more
than `Z`, over :math:`Z + R_0`.

*One blackout* of length `b` (fluid; :math:`\mu = m/D`, :math:`q_0` and :math:`n_0 = N - q_0` at rest,
:math:`E = 1 - e^{-b/Z}`):

====================================  ==============================================================================
users inside the guest                :math:`X_0 b`: their clock stands still too
outside, server full at rest          :math:`\mu b`: it has no speed left to catch up with
outside, else                         :math:`[n_0 (b - Z E) + A]/Z`, with `A` what the queue holds until it is drained
open loop (:math:`Z \to \infty`)      0: everything that was asked for is done, late
====================================  ==============================================================================

where from :math:`q_b = q_0 + n_0 E` the queue drains to `m` along :math:`q^* + (q_b - q^*) e^{-t/Z}`,
:math:`q^* = N - Z\mu`, and from there to :math:`q_0` at the rate :math:`1/Z + 1/D`.

Mirrors: nothing in QEMU; this is the guest.
Leaves out: demands that are not exponential (the steady state does not depend on it, transients do a little).
Source: birth-death chains; Bank and others, 1985, for the integration rule (TR-BDF2).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError
from migsim.models.users.closed_loop import UserLoop, closed_network

__all__ = ["ExpectedCourse", "blackout_lost", "expected_course", "lost_by_waiting"]

Floats = NDArray[np.float64]

GAMMA = 2 - 2**0.5
"""Share of a TR-BDF2 step that its first stage takes; with it both stages have the same matrix."""


@dataclass(frozen=True)
class ExpectedCourse:
    """Expected transactions of a closed loop over time.

    Attributes
    ----------
    grid_s : ndarray, shape (n + 1,)
    completed : ndarray, shape (courses, n + 1)
        Transactions since the grid's start.
    waiting : ndarray, shape (courses, n + 1)
        Users who wait for an answer.
    """

    grid_s: Floats
    completed: Floats
    waiting: Floats


def expected_course(loop: UserLoop, speeds: ArrayLike, grid_s: ArrayLike) -> ExpectedCourse:
    """Compute the expected transactions of a loop that starts from its steady state at full speed.

    Parameters
    ----------
    loop : UserLoop
        The users are counted as if they were outside the guest; for users inside give speeds by the guest's clock.
    speeds : array_like, shape (courses, n) or (n,)
        Mean speed in each interval of the grid.
    grid_s : array_like, shape (n + 1,)
        Evenly spaced; intervals much shorter than the think time.

    Examples
    --------
    >>> loop = UserLoop.of_one_class(10, think_s=1.0, demand_s=0.05)
    >>> course = expected_course(loop, np.ones(100), np.linspace(0, 1, 101))
    >>> bool(abs(course.completed[0, -1] - loop.steady().throughput_per_s) < 1e-9)
    True
    """
    v = np.atleast_2d(np.asarray(speeds, float))
    grid = np.asarray(grid_s, float)
    steps = np.diff(grid)
    _check_grid(steps, v)
    users, courses = loop.users, len(v)
    k = np.arange(users + 1)
    busy = np.minimum(k, loop.vcpus) / loop.demand_s
    if loop.think_s == 0:
        completed = np.cumsum(v * steps * busy[-1], axis=1)
        return ExpectedCourse(grid, _from_zero(completed), np.full((courses, len(grid)), float(users)))
    up = (users - k) / loop.think_s
    chances = np.tile(closed_network(users, loop.think_s, loop.demand_s, loop.vcpus).chances, (courses, 1))
    completed, waiting = np.zeros((courses, len(grid))), np.empty((courses, len(grid)))
    waiting[:, 0] = chances @ k
    for i, step in enumerate(steps):
        down = v[:, i, None] * busy
        chances, done = _step(chances, up, down, step)
        completed[:, i + 1] = completed[:, i] + done
        waiting[:, i + 1] = chances @ k
    return ExpectedCourse(grid, completed, waiting)


def blackout_lost(loop: UserLoop, blackout_s: float) -> float:
    """Return the transactions that a loop loses by one blackout, in the fluid limit; see the module's law.

    Examples
    --------
    >>> outside = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005)
    >>> inside = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005, inside=True)
    >>> round(blackout_lost(outside, 0.5), 1), round(blackout_lost(inside, 0.5), 1)
    (10.9, 37.3)
    """
    users, think, demand, vcpus = loop.users, loop.think_s, loop.demand_s, loop.vcpus
    top = vcpus / demand
    flow = min(users / (think + demand), top)
    if loop.inside or flow == top:
        return flow * blackout_s
    at_rest = users - flow * think
    gone = 1 - exp(-blackout_s / think)
    thinking = users - at_rest
    area = thinking * (blackout_s - think * gone)
    queue = at_rest + thinking * gone
    rate = 1 / think + 1 / demand
    if queue > vcpus:
        target = users - think * top
        lasts = think * log((queue - target) / (vcpus - target))
        area += (target - at_rest) * lasts + think * (queue - vcpus)
        queue = vcpus
    return (area + (queue - at_rest) / rate) / think


def lost_by_waiting(
    users: int, think_s: float, rest_response_s: float, *, completed: float, waited_s: float, stopped_s: float
) -> float:
    """Return the transactions that users inside a guest lost, from how long they waited.

    Parameters
    ----------
    users : int
    think_s, rest_response_s : float
        Mean think time, and mean response time while nothing slows the guest.
    completed : float
        Transactions completed in the window.
    waited_s : float
        Sum of their response times, by the guest's clock.
    stopped_s : float
        Time that the guest's clock stood still.

    Examples
    --------
    >>> lost_by_waiting(75, 1.0, 0.01, completed=740, waited_s=7.4, stopped_s=0.0)
    0.0
    >>> round(lost_by_waiting(75, 1.0, 0.01, completed=740, waited_s=7.4, stopped_s=1.0), 2)
    74.26
    """
    return (users * stopped_s + waited_s - completed * rest_response_s) / (think_s + rest_response_s)


def _step(chances: Floats, up: Floats, down: Floats, step: float) -> tuple[Floats, Floats]:
    """Return the chances after one step of TR-BDF2, for all courses, and the transactions completed in it."""
    half = GAMMA * step / 2
    lower, upper = np.broadcast_to(up, down.shape), down
    flow = _flow(chances, lower, upper)
    middle = _solve(lower, upper, half, chances + half * flow)
    w = 1 / (GAMMA * (2 - GAMMA))
    after = _solve(lower, upper, half, w * middle - (w - 1) * chances)
    # The completions are integrated by the same rule; their rate is linear in the chances.
    first, second, third = ((p * down).sum(axis=1) for p in (chances, middle, after))
    at_middle = half * (first + second)
    return after, w * at_middle + half * third


def _flow(p: Floats, up: Floats, down: Floats) -> Floats:
    gain = -(up + down) * p
    gain[:, 1:] += up[:, :-1] * p[:, :-1]
    gain[:, :-1] += down[:, 1:] * p[:, 1:]
    return gain


def _solve(up: Floats, down: Floats, half: float, right: Floats) -> Floats:
    """Solve (1 - half Q^T) p = right for all courses as one banded system."""
    from scipy.linalg import solve_banded

    bands = np.zeros((3, right.size))
    bands[1] = (1 + half * (up + down)).ravel()
    above, below = -half * down, -half * up
    above, below = above.copy(), below.copy()
    above[:, 0] = 0.0  # nothing flows from one course to the next
    below[:, -1] = 0.0
    bands[0, 1:] = above.ravel()[1:]
    bands[2, :-1] = below.ravel()[:-1]
    return np.asarray(solve_banded((1, 1), bands, right.ravel(), check_finite=False)).reshape(right.shape)


def _from_zero(completed: Floats) -> Floats:
    return np.concatenate([np.zeros((len(completed), 1)), completed], axis=1)


def _check_grid(steps: Floats, v: Floats) -> None:
    if v.shape[1] == len(steps) and len(steps) and steps.min() > 0 and v.min() >= 0:
        return
    raise ParameterError(
        f"{v.shape[1]} speeds from {v.min(initial=0.0):.3g} are given for {len(steps)} intervals.",
        "Each interval of an ascending grid has one speed, not below 0.",
        "Take the speeds from SpeedCourse.mean_speed of the same grid.",
    )
