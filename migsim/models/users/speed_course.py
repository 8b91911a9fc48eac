r"""A server's speed as a step function of time, and the clock of what runs inside it.

Law
---
What a server of speed :math:`v(t)` can serve until `t`, and when it has served `w`:

.. math:: C(t) = \int_0^t v\,du, \qquad C^{-1}(w) = \min\{t : C(t) \ge w\}

Where the machine is stopped its own clock stands still: :math:`t_{guest} = t -` the stops that lie before `t`.
A throttled vCPU does not stop the clock.

Mirrors: QEMU stops `QEMU_CLOCK_VIRTUAL` and kvmclock with the machine (`cpus.c` do_vm_stop).
Leaves out: a guest that is told the time from outside after the stop (NTP).
Source: arithmetic.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.models.guest.speed import check_pieces

__all__ = ["SpeedCourse"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SpeedCourse:
    """A server's speed in pieces; it is 1 before the first piece and after the last.

    Parameters
    ----------
    t_s, until_s, speed_fraction : array_like, shape (pieces,)
        Begin, end and speed of each piece, without gaps.
    stopped : array_like of bool, optional
        Whether the machine's clock stands still in each piece.

    Raises
    ------
    ParameterError
        For pieces with gaps, or a speed below 0.

    Examples
    --------
    >>> course = SpeedCourse([0, 1, 3], [1, 3, 4], [1.0, 0.0, 0.5], [False, True, False])
    >>> course.served_s(3.5), course.when_s(1.25), course.guest_clock_s(4.0)
    (1.25, 3.5, 2.0)
    """

    t_s: Any
    until_s: Any
    speed_fraction: Any
    stopped: Any = None
    _served: list[float] = field(init=False, repr=False, compare=False)
    _edges: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        t, until, v = (np.asarray(x, float) for x in (self.t_s, self.until_s, self.speed_fraction))
        check_pieces(t, until, v)
        stopped = np.zeros(len(t), bool) if self.stopped is None else np.asarray(self.stopped, bool)
        for name, value in (("t_s", t), ("until_s", until), ("speed_fraction", v), ("stopped", stopped)):
            object.__setattr__(self, name, value)
        edges = np.concatenate([t[:1], until])
        served = t[0] + np.concatenate([[0.0], np.cumsum(np.diff(edges) * v)])
        object.__setattr__(self, "_edges", edges.tolist())
        object.__setattr__(self, "_served", served.tolist())

    @classmethod
    def constant(cls, speed_fraction: float, until_s: float) -> SpeedCourse:
        """Return a course of one speed from time 0 to `until_s`."""
        return cls([0.0], [until_s], [speed_fraction])

    @classmethod
    def from_guest_speed(cls, guest_speed: Any) -> SpeedCourse:
        """Make a course of a result's `guest_speed` (see `migsim.results.guest_speed`); a blackout stops the clock."""
        return cls(
            guest_speed["t_s"],
            guest_speed["until_s"],
            guest_speed["speed_fraction"],
            (guest_speed["why"] == "blackout").to_numpy(),
        )

    @property
    def end_s(self) -> float:
        """End of the last piece."""
        return self._edges[-1]

    def served_s(self, t_s: float) -> float:
        """Return the service that the machine can give from time 0 to `t_s`, in seconds at full speed."""
        k = bisect_right(self._edges, t_s) - 1
        if k < 0:
            return t_s
        speed = float(self.speed_fraction[k]) if k < len(self.speed_fraction) else 1.0
        return self._served[k] + (t_s - self._edges[k]) * speed

    def when_s(self, served_s: float) -> float:
        """Return the first time by which the machine has given `served_s` of service."""
        k = bisect_right(self._served, served_s) - 1
        if k < 0:
            return served_s
        while k and self._served[k] == served_s:  # the first of several edges without service between them
            k -= 1
        if k == len(self.speed_fraction):
            return self._edges[k] + served_s - self._served[k]
        gain = served_s - self._served[k]
        return self._edges[k] + (gain / float(self.speed_fraction[k]) if gain else 0.0)

    def mean_speed(self, grid_s: ArrayLike) -> Floats:
        """Return the mean speed in each interval of a grid, shape (n,) for n + 1 ascending times."""
        grid = np.asarray(grid_s, float)
        edges, served = np.array(self._edges), np.array(self._served)
        at = np.interp(grid, edges, served)
        at += np.minimum(grid - edges[0], 0.0) + np.maximum(grid - edges[-1], 0.0)
        return np.asarray(np.diff(at) / np.diff(grid))

    def guest_clock_s(self, t_s: ArrayLike) -> Any:
        """Return the machine's clock at each wall time; both clocks begin at 0."""
        edges = np.array(self._edges)
        gone = np.concatenate([[0.0], np.cumsum(np.diff(edges) * self.stopped)])
        wall = np.asarray(t_s, float)
        shown = wall - np.interp(wall, edges, gone)
        return float(shown) if np.ndim(t_s) == 0 else shown

    def wall_s(self, guest_clock_s: ArrayLike) -> Floats:
        """Return the wall time at each time of the machine's clock; where a stop ends there, the time after it."""
        lengths = (self.until_s - self.t_s)[self.stopped]
        shown = self.guest_clock_s(self.t_s[self.stopped])
        gone = np.concatenate([[0.0], np.cumsum(lengths)])
        at = np.asarray(guest_clock_s, float)
        return np.asarray(at + gone[np.searchsorted(shown, at, side="left")])

    def without_stops(self) -> SpeedCourse:
        """Return the course by the machine's clock, as programs inside see it."""
        if not self.stopped.any():
            return self
        runs = ~self.stopped
        if not runs.any():
            return SpeedCourse.constant(1.0, 1.0)
        begin, end = self.guest_clock_s(self.t_s[runs]), self.guest_clock_s(self.until_s[runs])
        begin[1:] = end[:-1]  # equal but for rounding
        return SpeedCourse(begin, end, self.speed_fraction[runs])
