r"""What holds of the big lock do to I/O and timers.

Law
---
An I/O exit or a timer that comes at a random instant of `T` seconds with holds of :math:`h_i` waits more than `x` with

.. math:: P(delay > x) = \frac{1}{T} \sum_i \max(h_i - x, 0), \qquad duty = \frac{1}{T} \sum_i h_i

Whoever is waiting gets the lock when it is let go. The holds of a migration are those that
`migsim.history.two_trees` simulates.

Mirrors: `cpus.c` qemu_mutex_lock_iothread (1.2 to 1.7).
Leaves out: the queue that forms behind a hold, a thread that takes the lock again before the waiter wakes up,
everything else that holds the lock.
Source: the mechanics reference, sections 3.3 and 6.4; the delay is arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError

__all__ = ["LockUse", "lock_use"]


@dataclass(frozen=True)
class LockUse:
    """Holds of the big lock, and the delays that they cause to I/O and timers.

    Attributes
    ----------
    holds_s : ndarray
        Length of each hold.
    total_s : float
        The time span that the holds are part of.
    """

    holds_s: NDArray[np.float64]
    total_s: float

    @property
    def duty(self) -> float:
        """Share of the time in which the lock is held."""
        return float(self.holds_s.sum()) / self.total_s if self.total_s else 0.0

    @property
    def longest_s(self) -> float:
        """The longest hold: the longest stall of I/O exits and timers."""
        return float(self.holds_s.max(initial=0.0))

    def delayed_fraction(self, x_s: float) -> float:
        """Compute the share of timers that are more than `x_s` late."""
        if not self.total_s:
            return 0.0
        return float(np.maximum(self.holds_s - x_s, 0.0).sum()) / self.total_s

    def delay_s(self, quantile: float) -> float:
        """Compute the delay that a share `quantile` of the timers does not exceed.

        Examples
        --------
        >>> lock_use([0.05] * 10, 1.0).delay_s(0.9)
        0.04
        """
        if not 0 <= quantile <= 1:
            raise ParameterError(
                f"The quantile is {quantile}.",
                "It is a share of the timers, from 0 to 1.",
                "Give a number from 0 to 1.",
            )
        late_s = (1 - quantile) * self.total_s
        holds = np.sort(self.holds_s)[::-1]
        if late_s >= holds.sum():
            return 0.0
        # the sum of max(hold - x, 0) is linear in x between the lengths of two holds
        next_shorter = np.concatenate([holds[1:], [0.0]])
        excess = np.cumsum(holds) - np.arange(1, len(holds) + 1) * next_shorter
        k = int(np.searchsorted(excess, late_s))
        return round(float((holds[: k + 1].sum() - late_s) / (k + 1)), 12)


def lock_use(holds_s: Sequence[float], total_s: float) -> LockUse:
    """Check the lengths of some holds and make a `LockUse` of them.

    Raises
    ------
    ParameterError
        When a hold is negative, or their sum exceeds `total_s`.

    Examples
    --------
    >>> use = lock_use([0.05] * 10, 1.0)
    >>> round(use.duty, 6), use.longest_s, round(use.delayed_fraction(0.04), 6)
    (0.5, 0.05, 0.1)
    """
    holds = np.asarray(holds_s, dtype=float)
    if len(holds) and (holds.min() < 0 or holds.sum() > total_s * (1 + 1e-9)):
        raise ParameterError(
            f"The holds add up to {holds.sum():.6g} s within {total_s:.6g} s.",
            "The big lock has one holder at a time, and no hold is negative.",
            "Count each hold once.",
        )
    return LockUse(holds, float(total_s))
