r"""The big lock: which phases of a migration hold it, for how long, and what that does to I/O and timers.

Law
---
==========  =========  ========================================================================================
release     held by    how long at a time
==========  =========  ========================================================================================
1.2, 1.3    main loop  a step: iterate (up to 50 ms), its socket writes, any sync; setup; the final stage
1.4         thread     iterate (up to 50 ms), sync, setup, the final stage; socket writes are outside
1.5 to 8.1  thread     log start with the first sync; each exact sync; the final stage
8.2 on      thread     the whole setup; each exact sync; the final stage
==========  =========  ========================================================================================

An I/O exit or a timer that comes at a random instant of `T` seconds with holds of :math:`h_i` waits more than `x` with

.. math:: P(delay > x) = \frac{1}{T} \sum_i \max(h_i - x, 0), \qquad
          \overline{delay} = \frac{1}{2T} \sum_i h_i^2, \qquad duty = \frac{1}{T} \sum_i h_i

Whoever is waiting gets the lock when it is let go.

Mirrors: `migration.c`, `arch_init.c` (1.2 to 1.7), `migration/migration.c`, `migration/ram.c`, `migration/savevm.c`.
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
from migsim.models.dirty.bitmap import tree_release
from migsim.qapi import QemuVersion

__all__ = ["LockHolds", "LockUse", "Phases", "big_lock_s", "lock_use"]


@dataclass(frozen=True, slots=True)
class Phases:
    """How long each phase of a migration takes, in seconds, with or without the big lock.

    Attributes
    ----------
    setup_s : float
        The setup without `start_s`.
    start_s : float
        Log start and first sync.
    iterate_s : float
        One RAM iterate call.
    flush_s : float
        Its socket writes, made within the call or after it.
    sync_s : float
        One exact sync while the guest runs.
    completion_s : float
        The final stage, from stopping the vCPUs to the last byte.
    """

    setup_s: float = 0.0
    start_s: float = 0.0
    iterate_s: float = 0.0
    flush_s: float = 0.0
    sync_s: float = 0.0
    completion_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LockHolds:
    """How long the big lock is held at a time in each phase, in seconds; 0 in phases that do not hold it.

    Attributes
    ----------
    setup_s, completion_s : float
    step_s : float
        An iterate call without a sync.
    sync_s : float
        A step with a sync.
    """

    setup_s: float
    step_s: float
    sync_s: float
    completion_s: float

    @property
    def longest_running_s(self) -> float:
        """The longest hold while the guest runs: its longest stall of I/O and timers."""
        return max(self.setup_s, self.step_s, self.sync_s)


def big_lock_s(version: QemuVersion | str, phases: Phases) -> LockHolds:
    """Compute how long a release holds the big lock in each phase.

    Examples
    --------
    >>> p = Phases(setup_s=0.01, start_s=0.5, iterate_s=0.05, flush_s=0.04, sync_s=0.2, completion_s=1.0)
    >>> [big_lock_s(v, p).step_s for v in ("1.3", "1.4", "1.5")]
    [0.09, 0.05, 0.0]
    >>> [big_lock_s(v, p).setup_s for v in ("1.3", "7.2", "8.2")]
    [0.51, 0.5, 0.51]
    """
    release = tree_release(version)
    main_loop = release < QemuVersion(1, 4)
    in_iterate = release < QemuVersion(1, 5)
    step = phases.iterate_s * in_iterate + phases.flush_s * main_loop
    whole_setup = in_iterate or release >= QemuVersion(8, 2)
    return LockHolds(
        setup_s=phases.start_s + phases.setup_s * whole_setup,
        step_s=step,
        sync_s=phases.sync_s + step,
        completion_s=phases.completion_s,
    )


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

    @property
    def mean_delay_s(self) -> float:
        """Mean delay of a timer that is due at a random instant."""
        return float((self.holds_s**2).sum()) / (2 * self.total_s) if self.total_s else 0.0

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
    >>> round(use.duty, 6), use.longest_s, round(use.mean_delay_s, 6), round(use.delayed_fraction(0.04), 6)
    (0.5, 0.05, 0.0125, 0.1)
    """
    holds = np.asarray(holds_s, dtype=float)
    if len(holds) and (holds.min() < 0 or holds.sum() > total_s * (1 + 1e-9)):
        raise ParameterError(
            f"The holds add up to {holds.sum():.6g} s within {total_s:.6g} s.",
            "The big lock has one holder at a time, and no hold is negative.",
            "Count each hold once.",
        )
    return LockUse(holds, float(total_s))
