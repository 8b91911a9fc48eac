r"""How fast a guest works from one moment of its migration to the next.

Law
---
The guest's speed is a step function of time. Between two bitmap syncs, at which its vCPUs have run for :math:`r_i` and
its work has got to :math:`g_i`, log faults take the share :math:`1 - f_i` of what the vCPUs run,

.. math:: f_i = \frac{g_{i+1} - g_i}{r_{i+1} - r_i}, \qquad v(t) = u(t) f_i

with :math:`u(t)` the share of the wall time that the vCPUs run (throttle, full rings, processors that are short), and
:math:`v = 0` in the blackout. A guest that needs the share :math:`\rho` of its full speed works at

.. math:: w(t) = f_i \begin{cases} u/\rho & u < \rho \text{ or work waits} \\ 1 & \text{else} \end{cases}

seconds of work a second; in a closed loop :math:`\rho = 1` and :math:`w = v`. :math:`\int w\,dt` is the work done.

Mirrors: nothing in QEMU; this is the guest.
Leaves out: faults come soon after a sync and ebb away; here they are spread evenly over their round.
Source: arithmetic; `migsim.models.guest.work` for the backlog.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError
from migsim.models.guest.work import backlog_after

__all__ = ["WHY", "GuestMark", "SpeedPiece", "Why", "check_pieces", "speed_pieces", "work_s"]

Floats = NDArray[np.float64]

Why = Literal[
    "running", "setup", "dirty-log faults", "throttle", "dirty-limit", "processors", "blackout", "standstill"
]
WHY: tuple[Why, ...] = (
    "running",
    "setup",
    "dirty-log faults",
    "throttle",
    "dirty-limit",
    "processors",
    "blackout",
    "standstill",
)
"""Causes of a piece's speed. `processors`: sending takes processors that the guest wants. `standstill`: a migration
that does not converge goes on until its deadline at the mean speed of the last rounds."""

ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GuestMark:
    """The guest's progress at a bitmap sync.

    Attributes
    ----------
    t_s : float
        Wall time.
    run_s : float
        Time that its vCPUs have run, less the work that waits, in seconds at the guest's own pace.
    guest_s : float
        Work done, in seconds at the guest's own pace, counted from any start.
    """

    t_s: float
    run_s: float
    guest_s: float


@dataclass(frozen=True, slots=True)
class SpeedPiece:
    """A period of constant speed of the guest.

    Attributes
    ----------
    t_s, until_s : float
        Begin and end, in seconds since QMP ``migrate``.
    speed_fraction : float
        Share of its full speed at which the guest can run.
    work_per_s : float
        Work done in a second, in seconds at the guest's own pace; above 1 while it catches up.
    why : str
        One of `WHY`.
    """

    t_s: float
    until_s: float
    speed_fraction: float
    work_per_s: float
    why: Why


def speed_pieces(
    steps: Sequence[tuple[float, float]],
    marks: Sequence[GuestMark],
    until_s: float,
    *,
    load: float = 1.0,
    setup_s: tuple[float, float] | None = None,
    slowed_by: Why = "throttle",
) -> list[SpeedPiece]:
    """Divide the time from 0 to `until_s` into pieces of constant speed.

    Parameters
    ----------
    steps : sequence of (float, float)
        Times at which the share of wall time that the vCPUs run changes, and the new share; the first at 0.
    marks : sequence of GuestMark
        In order of time. Before the first and after the last mark no fault is counted.
    until_s : float
        End of the last piece: the guest is stopped, or the migration given up.
    load : float
        Share of its full speed that the guest needs.
    setup_s : (float, float), optional
        Begin and end of the setup.
    slowed_by : str
        Cause of the pieces in which the vCPUs do not run all the time.

    Examples
    --------
    >>> marks = [GuestMark(0.0, 0.0, 0.0), GuestMark(2.0, 2.0, 1.5), GuestMark(4.0, 3.0, 2.5)]
    >>> for piece in speed_pieces([(0.0, 1.0), (2.0, 0.5)], marks, 4.0):
    ...     print(piece)
    SpeedPiece(t_s=0.0, until_s=2.0, speed_fraction=0.75, work_per_s=0.75, why='dirty-log faults')
    SpeedPiece(t_s=2.0, until_s=4.0, speed_fraction=0.5, work_per_s=0.5, why='throttle')
    """
    kept = _kept(marks)
    shares = [_share(a, b) for a, b in pairwise(kept)]
    times = [mark.t_s for mark in kept]
    cuts = sorted({*times, *(setup_s or ())})
    pieces: list[SpeedPiece] = []
    for t_s, end_s, speed, work in _run_pieces(steps, load, until_s):
        inside = cuts[bisect_right(cuts, t_s) : bisect_right(cuts, end_s - ROUNDING)]
        for a, b in zip([t_s, *inside], [*inside, end_s], strict=True):
            k = bisect_right(times, a + ROUNDING) - 1
            share = shares[k] if 0 <= k < len(shares) else 1.0
            why: Why = slowed_by if speed < 1 else "dirty-log faults" if share < 1 else "running"
            if why == "running" and setup_s and setup_s[0] - ROUNDING <= a < setup_s[1] - ROUNDING:
                why = "setup"
            _add(pieces, SpeedPiece(a, b, speed * share, work * share, why))
    return pieces


def work_s(pieces: Sequence[SpeedPiece], at_s: ArrayLike) -> Floats:
    """Return the work that the guest has done at each time, in seconds at its own pace; none after the last piece.

    Examples
    --------
    >>> work_s([SpeedPiece(0, 2, 1, 1, "running"), SpeedPiece(2, 3, 0, 0, "blackout")], [1, 3]).tolist()
    [1.0, 2.0]
    """
    ends = np.array([0.0, *(piece.until_s for piece in pieces)])
    done = np.cumsum([0.0, *((p.until_s - p.t_s) * p.work_per_s for p in pieces)])
    return np.asarray(np.interp(np.asarray(at_s, float), ends, done))


def check_pieces(t_s: Floats, until_s: Floats, speed: Floats) -> None:
    """Raise ParameterError where pieces leave gaps, go backwards, or have a negative speed.

    Raises
    ------
    ParameterError
    """
    lengths = until_s - t_s
    gaps = np.abs(t_s[1:] - until_s[:-1]).max(initial=0.0)
    if len(t_s) and gaps < ROUNDING * (1 + until_s[-1]) and lengths.min() > 0 and speed.min() >= 0:
        return
    raise ParameterError(
        f"{len(t_s)} pieces of speed with gaps up to {gaps:.3g} s and speeds from {speed.min(initial=0.0):.3g}.",
        "There is at least one piece, each lasts and begins where the one before ends, and no speed is negative.",
        "Take them from a simulated result's guest_speed.",
    )


def _kept(marks: Sequence[GuestMark]) -> list[GuestMark]:
    """Return the marks with one for each time: the last of several at one time."""
    kept: list[GuestMark] = []
    for mark in marks:
        if kept and mark.t_s - kept[-1].t_s < ROUNDING:
            kept.pop()
        kept.append(mark)
    return kept


def _share(a: GuestMark, b: GuestMark) -> float:
    """Return the share of the vCPUs' running time that log faults leave for work between two syncs."""
    ran = b.run_s - a.run_s
    share = (b.guest_s - a.guest_s) / ran if ran > ROUNDING else 1.0
    return 1.0 if abs(share - 1) < ROUNDING else share


def _run_pieces(
    steps: Sequence[tuple[float, float]], load: float, until_s: float
) -> Iterator[tuple[float, float, float, float]]:
    """Yield begin, end, the vCPUs' speed and the work a second, faults left out."""
    backlog = 0.0
    for k, (t_s, speed) in enumerate(steps):
        end_s = min(steps[k + 1][0] if k + 1 < len(steps) else until_s, until_s)
        if end_s <= t_s:
            continue
        drained_s = t_s + backlog / (speed - load) if speed > load else end_s
        drained_s = min(max(drained_s, t_s), end_s)
        if drained_s > t_s:
            yield t_s, drained_s, speed, speed / load
        if end_s > drained_s:
            yield drained_s, end_s, speed, 1.0
        backlog = backlog_after(backlog, speed, load, end_s - t_s)


def _add(pieces: list[SpeedPiece], piece: SpeedPiece) -> None:
    """Append a piece; it prolongs the last piece where speed, work and cause are the same."""
    if pieces:
        last = pieces[-1]
        same = (last.speed_fraction, last.work_per_s, last.why)
        if same == (piece.speed_fraction, piece.work_per_s, piece.why):
            pieces[-1] = SpeedPiece(last.t_s, piece.until_s, *same)
            return
    pieces.append(piece)
