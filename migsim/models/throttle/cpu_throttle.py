r"""Throttled vCPUs: when they sleep, and how much they still run.

Law
---
Percentage form (2.5 on). A timer ticks every :math:`10\,\mathrm{ms}/(1-p)`; each tick sends every vCPU to sleep for
:math:`10\,\mathrm{ms}\cdot p/(1-p)`, all of them together, so they run 10 ms and then sleep:

.. math:: \text{run fraction} = 1 - p

A vCPU that still sleeps misses the tick: with :math:`s` the sleep and what it overruns, and :math:`T` the time between
ticks with what they come late, :math:`1 - s/(kT)`, :math:`k = \lfloor s/T \rfloor + 1`.

Fixed form (1.6 to 2.4). The iterate loop, when it passes and its last action is 41 ms ago, sends every vCPU to sleep
for 30 ms. A loop that never pauses leaves 11/41 of the time; one that runs for `b` ms of every 100 acts
:math:`\lceil b/41 \rceil` times in them (`b` up to 82).

Setting a percentage restarts the timer 10 ms later up to 5.2, also at the maximum. A tick that then meets a sleep is
lost, so the vCPUs run on until the next one; an action at a random instant gives them, with `S` the sleep and `T` the
tick in ms, :math:`(S^2 - 100)/2T` ms (:math:`S \ge 10`; below, :math:`10 - T/2`).

Mirrors: `cpus.c` (2.5 to 5.0), `softmmu/cpu-throttle.c`, `system/cpu-throttle.c`, `migration/cpu-throttle.c` (to 10.2);
`arch_init.c` (1.6 to 2.4).
Leaves out: sleeps that pile up (2.5 to 2.9); up to one tick until a new percentage acts (6.0 on); what a sleeper waits
for the big lock; DMA and vhost, which are not throttled. What a slice does is in `migsim.models.throttle.slices`.
Source: QEMU's release trees; the mechanics reference, sections 5.2 and 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from migsim.errors import ParameterError
from migsim.models.loop.rate_limit import WINDOW_S
from migsim.models.throttle.auto_converge import MAX_PERCENTAGE, ThrottleState
from migsim.models.throttle.trigger import ThrottleRules

__all__ = [
    "FIXED_GAP_S",
    "FIXED_SLEEP_S",
    "SLICE_S",
    "StopWait",
    "fixed_sleep_run_fraction",
    "rearm_extra_run_s",
    "run_fraction",
    "sleep_s",
    "stop_wait_s",
    "tick_s",
]

SLICE_S = 0.010
"""Time that a throttled vCPU runs between two sleeps."""

FIXED_SLEEP_S = 0.030
"""Length of one sleep in the fixed form."""

FIXED_GAP_S = 0.041
"""The fixed form acts again when more than 40 whole milliseconds have passed."""


def sleep_s(percentage: int) -> float:
    """Return the length of one sleep at a percentage, to the nanosecond as QEMU counts it; 0 at 0 %.

    Examples
    --------
    >>> [round(sleep_s(p) * 1000, 3) for p in (0, 20, 50, 80, 90, 99)]
    [0.0, 2.5, 10.0, 40.0, 90.0, 990.0]
    """
    if not percentage:
        return 0.0
    share = _share(percentage)
    return int(share / (1 - share) * 10_000_000 + 1) / 1e9


def tick_s(percentage: int) -> float:
    """Return the time between two ticks of the timer.

    Examples
    --------
    >>> [round(tick_s(p) * 1000, 3) for p in (20, 50, 80, 90, 99)]
    [12.5, 20.0, 50.0, 100.0, 1000.0]
    """
    return int(10_000_000 / (1 - _share(percentage))) / 1e9


def run_fraction(percentage: int, *, overrun_s: float = 0.0, late_s: float = 0.0) -> float:
    """Return the share of wall time that each vCPU runs.

    Parameters
    ----------
    percentage : int
        0 to 99.
    overrun_s : float
        Time that a sleep lasts longer than set: timer slack (some 50 us), waking up, waiting for the big lock.
    late_s : float
        Delay of the ticks.

    Examples
    --------
    >>> [round(run_fraction(p), 6) for p in (0, 20, 99)]
    [1.0, 0.8, 0.01]
    >>> round(run_fraction(99, overrun_s=0.001), 6)
    0.009
    """
    if not percentage:
        return 1.0
    asleep, between = sleep_s(percentage) + overrun_s, tick_s(percentage) + late_s
    ticks = asleep // between + 1
    return 1 - asleep / (ticks * between)


def fixed_sleep_run_fraction(burst_s: float = WINDOW_S, window_s: float = WINDOW_S) -> float:
    """Return the share of wall time that each vCPU runs under the fixed form.

    Parameters
    ----------
    burst_s : float
        Time of every window in which the iterate loop runs: with a limit, the window's quota over the speed without
        one; the whole window without a limit.
    window_s : float

    Examples
    --------
    >>> round(fixed_sleep_run_fraction(), 3), fixed_sleep_run_fraction(0.02), fixed_sleep_run_fraction(0.05)
    (0.268, 0.7, 0.4)
    """
    window, gap = round(window_s * 1e6), round(FIXED_GAP_S * 1e6)
    burst = min(round(burst_s * 1e6), window)
    at = actions = 0
    while actions < window:  # in whole microseconds the phases repeat by then
        actions += 1
        at += gap
        phase = at % window
        if phase >= burst:
            at += window - phase
        if at % window == 0:
            break
    return 1 - actions * FIXED_SLEEP_S * 1e6 / at


def rearm_extra_run_s(percentage: int) -> float:
    """Return the mean time that the vCPUs run longer because an action restarts the timer (2.5 to 5.2).

    Actions go on at the maximum percentage, one in every `acts_on` bad periods.

    Examples
    --------
    >>> [round(rearm_extra_run_s(p) * 1000, 1) for p in (20, 50, 80, 99)]
    [3.8, 0.0, 15.0, 490.0]
    """
    asleep, between = sleep_s(percentage), tick_s(percentage)
    if asleep < SLICE_S:
        return SLICE_S - between / 2
    return (asleep**2 - SLICE_S**2) / (2 * between)


@dataclass(frozen=True, slots=True)
class StopWait:
    """Time that stopping the guest waits for sleeping vCPUs: mean over all instants, and maximum."""

    mean_s: float
    worst_s: float


def stop_wait_s(state: ThrottleState, rules: ThrottleRules) -> StopWait:
    """Return how long stopping the guest waits for sleeping vCPUs; 0 from 4.2 on.

    The fixed form is taken at its highest rate, an action every 41 ms.

    Examples
    --------
    >>> from migsim.models.throttle.trigger import throttle_rules
    >>> [stop_wait_s(ThrottleState(99), throttle_rules(v)).worst_s for v in ("4.1", "4.2")]
    [0.99, 0.0]
    """
    if rules.interruptible_sleep or not state.active:
        return StopWait(0.0, 0.0)
    asleep = FIXED_SLEEP_S if state.fixed_sleeps else sleep_s(state.percentage)
    between = FIXED_GAP_S if state.fixed_sleeps else tick_s(state.percentage)
    return StopWait(asleep**2 / (2 * between), asleep)


def _share(percentage: int) -> float:
    if not 0 <= percentage <= MAX_PERCENTAGE:
        raise ParameterError(
            f"The throttle percentage is {percentage}.",
            "QEMU throttles by 0 to 99 %.",
            f"Use {min(max(percentage, 0), MAX_PERCENTAGE)}.",
        )
    return percentage / 100
