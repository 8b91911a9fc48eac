r"""What a throttled vCPU does in a slice: less than its share, because a slice begins after a sleep.

Law
---
A vCPU that slept for :math:`s` begins its slice with less of its working set in the caches, and fills them again as it
works. The work that a slice lacks, in seconds at full speed, grows with the sleep up to a bound, as other programs take
the caches over:

.. math:: \ell(s) = \ell_\infty \left(1 - e^{-s/\tau}\right)

With a run fraction :math:`f`, slices of :math:`S` = 10 ms and sleeps :math:`s = S (1/f - 1)` (see
`migsim.models.throttle.cpu_throttle`) the guest's speed is

.. math:: v = f \left(1 - \ell(s)/S\right)

Mirrors: nothing in QEMU; these are the host's caches, and under TCG QEMU's tables of translated code and addresses.
Leaves out: the working set, which no trace tells: :math:`\ell_\infty` is that of the probe's.
Source: the probe `migsim.calibrate.host.slices`; the form is its.
"""

from __future__ import annotations

from math import exp

from migsim.models.throttle.cpu_throttle import SLICE_S

__all__ = ["slice_lost_s", "throttled_speed"]

LEAST_WORK = 0.05
"""A slice does at least so much of its work: beyond it the law no longer describes the guest."""


def slice_lost_s(sleep_s: float, lost_s: float, cools_s: float) -> float:
    """Return the work that a slice lacks after a sleep.

    Parameters
    ----------
    sleep_s : float
    lost_s : float
        What it lacks after a long sleep.
    cools_s : float
        The sleep after which 63 % of that are lacking; 0: after any.

    Examples
    --------
    >>> slice_lost_s(0.0, 0.001, 0.01), round(slice_lost_s(0.09, 0.001, 0.01), 6), slice_lost_s(0.001, 0.001, 0.0)
    (0.0, 0.001, 0.001)
    """
    if sleep_s <= 0.0:
        return 0.0
    return lost_s * (1.0 - exp(-sleep_s / cools_s)) if cools_s > 0.0 else lost_s


def throttled_speed(run_fraction: float, lost_s: float, cools_s: float) -> float:
    """Return the speed of a guest whose vCPUs run for a fraction of the time, in slices of 10 ms.

    Examples
    --------
    >>> throttled_speed(1.0, 0.001, 0.01), throttled_speed(0.5, 0.0, 0.0), round(throttled_speed(0.1, 0.001, 0.01), 4)
    (1.0, 0.5, 0.09)
    """
    if run_fraction >= 1.0 or run_fraction <= 0.0:
        return run_fraction
    lacking = slice_lost_s(SLICE_S * (1.0 / run_fraction - 1.0), lost_s, cools_s)
    return run_fraction * max(1.0 - lacking / SLICE_S, LEAST_WORK)
