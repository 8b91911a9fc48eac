r"""What a migration costs the guest: work done, lost and put off.

Law
---
`v(t)` is the guest's speed, 1 when nothing slows it; work counts in seconds at full speed. Causes multiply: the freeze
at the start (0), log faults, throttling, the blackout (0).

*Closed loop*, a guest that works as fast as it can:

.. math:: w(t) = \int_0^t v\,du, \qquad \text{lost} = \int_0^t (1 - v)\,du

A job of `w` seconds is done at the `t` where :math:`w(t) = w`, which is :math:`t - w` late.

*Open loop*, work that arrives by the clock at a load :math:`\rho` of the full speed and waits in a queue:

.. math:: N(t) = \int_0^t (\rho - v)\,du, \qquad b(t) = N(t) - \min_{u \le t} \min(N(u), 0)

Nothing is lost: :math:`\rho t = \text{done} + b`. A backlog drains at :math:`v - \rho`; its mean wait is
:math:`\int b\,dt / \rho t` (Little).

Mirrors: nothing in QEMU; this is the guest.
Leaves out: a queue that is full and turns work away, caches that cool down but by throttling, what locks cost on top
of sleeps, vCPUs that wait for one that sleeps by itself (dirty-limit).
Source: arithmetic of fluid queues.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError

__all__ = [
    "ClosedLoop",
    "OpenLoop",
    "backlog_after",
    "closed_loop",
    "combined_speed",
    "open_loop",
    "work_done_s",
    "worked_s",
]

Floats = NDArray[np.float64]

ROUNDING = 1e-12
"""A smaller backlog, or gain, is a rounding error of a sum."""


def combined_speed(*courses: tuple[ArrayLike, ArrayLike]) -> tuple[Floats, Floats]:
    """Multiply courses of speed; each is an array of start times and one of the speeds from these times on.

    Before a course's first start its speed is 1. Its last speed lasts for ever.

    Examples
    --------
    >>> start, speed = combined_speed(([0, 2], [0.8, 1]), ([1, 3], [0.5, 1]))
    >>> start.tolist(), speed.tolist()
    ([0.0, 1.0, 2.0, 3.0], [0.8, 0.4, 0.5, 1.0])
    """
    checked = [_checked(start, speed) for start, speed in courses]
    at = np.unique(np.concatenate([start for start, _ in checked]))
    product = np.ones(len(at))
    for start, speed in checked:
        piece = np.searchsorted(start, at, side="right")
        product *= np.concatenate([[1.0], speed])[piece]
    return at, product


def work_done_s(start_s: ArrayLike, speed: ArrayLike, at_s: ArrayLike) -> Floats:
    """Return the work that a closed-loop guest has done since the first start, in seconds at full speed.

    Parameters
    ----------
    start_s, speed : array_like, shape (pieces,)
        Speed from each start on; the last one lasts for ever.
    at_s : array_like
        Times, not before the first start.

    Examples
    --------
    >>> work_done_s([0, 1, 3], [1, 0, 0.5], [0.5, 2, 5]).tolist()
    [0.5, 1.0, 2.0]
    """
    start, v = _checked(start_s, speed)
    at = np.asarray(at_s, dtype=float)
    if at.size and at.min() < start[0]:
        raise ParameterError(
            f"Work is asked for at {at.min()} s.",
            f"The course of speed starts at {start[0]} s.",
            "Ask for a later time.",
        )
    done = np.concatenate([[0.0], np.cumsum(np.diff(start) * v[:-1])])
    piece = np.searchsorted(start, at, side="right") - 1
    return np.asarray(done[piece] + (at - start[piece]) * v[piece])


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """The work and the loss of a closed-loop guest, in seconds at full speed.

    Attributes
    ----------
    done_s, lost_s : float
        Work done and lost from the first start until the end.
    speed_fraction : float
        The mean speed.
    """

    done_s: float
    lost_s: float
    speed_fraction: float


def closed_loop(start_s: ArrayLike, speed: ArrayLike, end_s: float) -> ClosedLoop:
    """Compute the work and the loss until `end_s` of a guest that works as fast as it can.

    Examples
    --------
    >>> closed_loop([0, 1, 3], [1, 0, 0.5], 5)
    ClosedLoop(done_s=2.0, lost_s=3.0, speed_fraction=0.4)
    """
    start, v = _checked(start_s, speed)
    done = float(work_done_s(start, v, end_s))
    wall = end_s - float(start[0])
    return ClosedLoop(done, wall - done, done / wall if wall else 1.0)


def backlog_after(backlog_s: float, speed: float, load: float, seconds: float) -> float:
    """Return the work that waits after `seconds` at one speed, in seconds at full speed.

    A load of 1 is the closed loop: lost work is never caught up.

    Examples
    --------
    >>> backlog_after(0.0, 0.0, 0.5, 1.0), backlog_after(0.5, 1.0, 0.5, 3.0), backlog_after(0.5, 1.0, 1.0, 3.0)
    (0.5, 0.0, 0.5)
    """
    return max(backlog_s + (load - speed) * seconds, 0.0)


def worked_s(backlog_s: float, speed: float, load: float, seconds: float) -> float:
    """Return the progress of a guest's work in `seconds` at one speed, in seconds at its own pace.

    Examples
    --------
    >>> worked_s(0.0, 0.5, 1.0, 2.0), worked_s(0.0, 0.5, 0.5, 2.0)
    (1.0, 2.0)
    """
    delayed_s = backlog_after(backlog_s, speed, load, seconds) - backlog_s
    return seconds - delayed_s / load


@dataclass(frozen=True)
class OpenLoop:
    """The backlog of an open-loop guest.

    Attributes
    ----------
    start_s, backlog_s : ndarray, shape (pieces,)
        Starts of the pieces, and the work that waits at each, in seconds at full speed.
    drained_at_s : float
        When the backlog is gone; infinite where the guest never catches up.
    peak_s : float
        Largest backlog; infinite where it grows for ever.
    waited_s2 : float
        Backlog integrated over time.
    load : float
    """

    start_s: Floats
    backlog_s: Floats
    drained_at_s: float
    peak_s: float
    waited_s2: float
    load: float

    @property
    def mean_wait_s(self) -> float:
        """Mean wait of all work that arrives until the backlog is gone."""
        arrived = self.load * (self.drained_at_s - float(self.start_s[0]))
        if np.isinf(arrived):
            return float("inf")
        return self.waited_s2 / arrived if arrived else 0.0


def open_loop(start_s: ArrayLike, speed: ArrayLike, load: float) -> OpenLoop:
    """Compute the backlog of a guest whose work arrives by the clock.

    Parameters
    ----------
    start_s, speed : array_like, shape (pieces,)
        Speed from each start on; the last one lasts for ever.
    load : float
        Work that arrives in a second, in seconds at full speed.

    Raises
    ------
    ParameterError
        For a load that is not between 0 and 1.

    Examples
    --------
    >>> blackout = open_loop([0, 0.5], [0, 1], load=0.5)
    >>> blackout.backlog_s.tolist(), blackout.drained_at_s, blackout.mean_wait_s
    ([0.0, 0.25], 1.0, 0.25)
    """
    start, v = _checked(start_s, speed)
    if not 0 <= load <= 1:
        raise ParameterError(
            f"The load is {load}.",
            "It is the share of its full speed that the guest needs, 0 to 1.",
            "Correct it.",
        )
    length = np.append(np.diff(start), np.inf)
    gain = load - v
    gain[np.abs(gain) < ROUNDING] = 0.0
    net = np.concatenate([[0.0], np.cumsum(length[:-1] * gain[:-1])])
    backlog = net - np.minimum.accumulate(net)
    backlog[backlog < ROUNDING * (1 + np.abs(net).max())] = 0.0
    # How long each piece has a backlog: its whole length, unless the backlog drains earlier.
    drains = np.divide(backlog, -gain, out=np.full(len(v), np.inf), where=gain < 0)
    lasting = np.where((backlog == 0) & (gain <= 0), 0.0, np.minimum(length, drains))
    waits = lasting > 0
    area = float("inf")
    if not np.isinf(lasting[-1]):
        area = float(np.sum(backlog * lasting + gain * lasting**2 / 2))
    drained = float((start + lasting)[waits].max(initial=start[0]))
    peak = float("inf") if gain[-1] > 0 else float(backlog.max())
    return OpenLoop(start, backlog, drained, peak, area, load)


def _checked(start_s: ArrayLike, speed: ArrayLike) -> tuple[Floats, Floats]:
    start, v = np.asarray(start_s, dtype=float), np.asarray(speed, dtype=float)
    if start.ndim != 1 or start.shape != v.shape or not len(start):
        raise ParameterError(
            f"A course of speed has {start.shape} starts and {v.shape} speeds.",
            "Both are flat and of one length, at least 1.",
            "Give one speed for each start.",
        )
    if (
        not (np.isfinite(start).all() and np.isfinite(v).all())
        or np.diff(start).min(initial=1) <= 0
        or v.min() < 0
    ):
        raise ParameterError(
            f"A course of speed starts at {start.tolist()} with {v.tolist()}.",
            "Starts are finite and rise; no speed is negative.",
            "Sort the pieces, and join those that start together.",
        )
    return start, v
