"""The geometric series: a constant dirty rate D against a constant bandwidth R.

Round k sends what round k-1 left: V_k = V_0 λ^k with λ = D/R, until V_k fits the downtime limit T:

    n = ceil(log(R T / V_0) / log λ)      total = V_0/R (1 - λ^(n+1)) / (1 - λ)      downtime = V_n/R

and never where λ >= 1. This is the form of Clark et al. (NSDI 2005) and Liu et al. (HPDC 2011), among many.
V_0 is the guest's data instead of all its RAM, and D the unique pages of a 1 s window (the default of
`calc-dirty-rate`); both choices favour this rival.
"""

from __future__ import annotations

import math

import numpy as np

from validation.rivals.interface import PAGE_BYTES, RivalInputs, RivalPrediction

__all__ = ["predict"]

_RATE_WINDOW_S = 1.0


def predict(inputs: RivalInputs) -> RivalPrediction:
    """Answer total time, downtime, bytes and rounds, or that the migration never ends."""
    speed = inputs.max_bandwidth_bytes_per_s
    first = inputs.nonzero_pages * PAGE_BYTES
    goal = speed * inputs.downtime_limit_ms / 1000.0
    ratio = _dirty_bytes_per_s(inputs) / speed
    rounds = _rounds_before_last(first, goal, ratio)
    if rounds is None:
        return RivalPrediction(converges=False)
    sent = first * (rounds + 1) if ratio == 1.0 else first * (1.0 - ratio ** (rounds + 1)) / (1.0 - ratio)
    return RivalPrediction(
        total_time_ms=1000.0 * sent / speed,
        downtime_ms=1000.0 * first * ratio**rounds / speed,
        transferred_bytes=sent,
        rounds=rounds + 1,
        converges=True,
    )


def _dirty_bytes_per_s(inputs: RivalInputs) -> float:
    """Return the rate over a 1 s window; below its first point a curve is a line from zero."""
    windows = np.concatenate([[0.0], np.asarray(inputs.window_s, dtype=float)])
    pages = np.concatenate([[0.0], np.asarray(inputs.dirty_pages, dtype=float)])
    window = min(_RATE_WINDOW_S, float(windows[-1]))
    return float(np.interp(window, windows, pages)) * PAGE_BYTES / window


def _rounds_before_last(first: float, goal: float, ratio: float) -> int | None:
    if first <= goal:
        return 0
    if ratio == 0.0:
        return 1
    if ratio >= 1.0 or goal == 0.0:
        return None
    return math.ceil((math.log(goal) - math.log(first)) / math.log(ratio))
