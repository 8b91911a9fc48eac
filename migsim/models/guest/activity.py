r"""How a guest's activity wanders: its write rate moves about its mean, over tenths of a second to tens of seconds.

Law
---
The logarithm of the write rate is a sum of Ornstein-Uhlenbeck processes, one for each of the time constants
:math:`\tau_k` of `TIMES_S`, with deviations :math:`\sigma_k`. What counts for the pages written in a window of length
:math:`T` is the window's mean. For one process with level :math:`x_0` at the window's begin, and
:math:`r = e^{-T/\tau}`, the level :math:`x_1` at its end and the mean :math:`m` are normal with

.. math::

    E\,x_1 = r x_0, \quad E\,m = \frac{\tau}{T}(1-r)\,x_0, \quad
    \mathrm{var}\,x_1 = \sigma^2 (1-r^2), \\
    \mathrm{var}\,m = \sigma^2 \frac{\tau^2}{T^2}\left(\frac{2T}{\tau} - 3 + 4r - r^2\right), \quad
    \mathrm{cov} = \sigma^2 \frac{\tau}{T} (1-r)^2 .

The activity in the window is :math:`\exp(\sum m_k - v/2)` with :math:`v` the variance of that sum from a start that
nobody knows, so that its mean is 1 for windows of any length.

Mirrors: nothing in QEMU; this is the guest, and the processors it competes for.
Leaves out: the mean of the logarithm stands for the logarithm of the mean; they differ by the variance inside a window.
Classes do not move apart.
Source: Uhlenbeck and Ornstein (1930); Gillespie (1996) for the integral.
"""

from __future__ import annotations

from math import exp, expm1, sqrt

__all__ = ["NOT_WANDERING", "TIMES_S", "activity", "end_and_mean", "variance_of_mean"]

TIMES_S = (0.1, 1.0, 10.0)
"""Time constants of the processes."""

NOT_WANDERING = (0.0, 0.0, 0.0)
"""Deviations of a guest that writes at its mean rate all the time."""

SHORT = 1e-3
"""Windows of less than so much of the time constant: the closed forms lose their digits."""


def variance_of_mean(time_s: float, seconds: float) -> float:
    """Variance of the mean over a window, as a share of the process's own.

    Examples
    --------
    >>> variance_of_mean(1.0, 0.0), round(variance_of_mean(1.0, 100.0), 4)
    (1.0, 0.0198)
    """
    t = seconds / time_s
    if t < SHORT:
        return 1.0 - t / 3.0
    return 2.0 * (t - 1.0 + exp(-t)) / t**2


def end_and_mean(
    level: float, time_s: float, seconds: float, deviate: float, other: float
) -> tuple[float, float]:
    """Draw the level at a window's end, and the mean over the window, of a process with deviation 1.

    Parameters
    ----------
    level : float
        At the window's begin.
    time_s, seconds : float
        Time constant, and length of the window.
    deviate, other : float
        Two standard normal deviates.

    Examples
    --------
    >>> end_and_mean(1.0, 1.0, 0.0, 0.7, 0.7)
    (1.0, 1.0)
    >>> [round(x, 3) for x in end_and_mean(1.0, 1.0, 2.0, 0.0, 0.0)]
    [0.135, 0.432]
    """
    t = seconds / time_s
    if t <= 0.0:
        return level, level
    r = exp(-t)
    end_deviation = sqrt(-expm1(-2.0 * t))
    if t < SHORT:
        mean_of, variance, covariance = 1.0 - t / 2.0, 2.0 * t / 3.0, t
    else:
        mean_of = (1.0 - r) / t
        variance = (2.0 * t - 3.0 + 4.0 * r - r * r) / t**2
        covariance = (1.0 - r) ** 2 / t
    shared = covariance / end_deviation
    end = r * level + end_deviation * deviate
    mean = mean_of * level + shared * deviate + sqrt(max(variance - shared * shared, 0.0)) * other
    return end, mean


def activity(
    deviations: tuple[float, float, float], means: tuple[float, float, float], seconds: float
) -> float:
    """Return the activity in a window of a guest whose processes have these means there; its own mean is 1.

    Parameters
    ----------
    deviations : tuple of float
        Of the logarithm, for each of `TIMES_S`.
    means : tuple of float
        Of the processes with deviation 1 over the window.
    seconds : float
        The window.

    Examples
    --------
    >>> round(activity((0.2, 0.0, 0.0), (1.0, 0.0, 0.0), 0.0), 4), activity((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)
    (1.1972, 1.0)
    """
    log = 0.0
    for k in range(len(TIMES_S)):
        log += deviations[k] * means[k] - 0.5 * deviations[k] ** 2 * variance_of_mean(TIMES_S[k], seconds)
    return exp(log)
