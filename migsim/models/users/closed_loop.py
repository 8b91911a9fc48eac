r"""A fixed number of users who think, ask, and wait for the answer: throughput and response time at one speed.

Law
---
`N` users think for :math:`Z` s (exponential, mean), then ask for a transaction that needs :math:`D` s of a vCPU. `m`
vCPUs share what there is among the transactions under way (processor sharing): with `k` of them each gets
:math:`\min(1, m/k)`. The number at the server is a birth-death chain with the rates :math:`(N-k)/Z` and
:math:`\min(k, m)/D`, so

.. math:: p_k \propto \prod_{j=1}^{k} \frac{(N - j + 1) D}{Z \min(j, m)}, \qquad X = \sum_k p_k \frac{\min(k, m)}{D}

which is what mean value analysis gives for exponential demands, and by processor sharing's insensitivity for any
demands of that mean. Operational laws, whatever the distributions:

===========================  =====================================================
interactive response time    :math:`R = N/X - Z`
utilisation                  :math:`U = X D / m`
Little                       :math:`Q = X R`
bounds                       :math:`N/(N D + Z) \le X \le \min(m/D,\ N/(D + Z))`
===========================  =====================================================

Classes of transactions, each asked for with the chance :math:`f_c`: :math:`D = \sum f_c D_c`, and under processor
sharing each waits in proportion to what it needs, :math:`R_c = R D_c / D`.

Processor sharing, not first come first served: a database's backends are processes that the guest's scheduler gives the
vCPUs by turns of milliseconds, and with unequal demands first come first served has no product form.

Mirrors: nothing in QEMU; this is the guest.
Leaves out: waits for disks and locks, a limit on connections, demands that grow with the load.
Source: Denning and Buzen, *The Operational Analysis of Queueing Network Models*, 1978; Reiser and Lavenberg, 1980
(MVA); Baskett, Chandy, Muntz and Palacios, 1975 (processor sharing).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError

__all__ = [
    "ClosedNetwork",
    "TransactionClass",
    "UserLoop",
    "closed_network",
    "demand_from_response",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TransactionClass:
    """One kind of transaction.

    Attributes
    ----------
    name : str
        Such as ``order-products``.
    mix_fraction : float
        Share of the transactions that are of this kind.
    demand_s : float
        Mean vCPU time of one transaction, at full speed.
    """

    name: str
    mix_fraction: float
    demand_s: float


@dataclass(frozen=True, slots=True)
class UserLoop:
    """Users in a closed loop.

    Parameters
    ----------
    users : int
    think_s : float
        Mean time between an answer and the next request; 0 for none.
    classes : tuple of TransactionClass
        Shares that sum to 1, names that differ.
    vcpus : int
    inside : bool
        Whether the users are programs inside the guest. Their clock stands still while the guest is stopped, so they
        do not notice the stop. Users outside wait while the guest is stopped.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> loop = UserLoop.of_one_class(75, think_s=1.0, demand_s=0.005)
    >>> round(loop.steady().throughput_per_s, 2), round(loop.steady().utilisation_fraction, 3)
    (74.41, 0.372)
    """

    users: int
    think_s: float
    classes: tuple[TransactionClass, ...]
    vcpus: int = 1
    inside: bool = False

    def __post_init__(self) -> None:
        _check(self.users, self.think_s, self.demand_s, self.vcpus)
        shares = [c.mix_fraction for c in self.classes]
        if abs(sum(shares) - 1) > 1e-6 or min(shares) < 0 or min(c.demand_s for c in self.classes) < 0:
            raise ParameterError(
                f"Transaction classes have the shares {shares}, demands {[c.demand_s for c in self.classes]} s.",
                "Shares are 0 or more and sum to 1; no demand is negative.",
                "Correct them.",
            )
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names) or "all" in names:
            raise ParameterError(
                f"Transaction classes are called {', '.join(names)}.",
                "Names differ, and 'all' stands for all of them.",
                "Rename them.",
            )

    @classmethod
    def of_one_class(
        cls, users: int, *, think_s: float, demand_s: float, vcpus: int = 1, inside: bool = False
    ) -> UserLoop:
        """Return a loop whose transactions are all of one class."""
        return cls(users, think_s, (TransactionClass("transaction", 1.0, demand_s),), vcpus, inside)

    @property
    def demand_s(self) -> float:
        """Mean demand of a transaction."""
        return sum(c.mix_fraction * c.demand_s for c in self.classes)

    def steady(self, speed_fraction: float = 1.0) -> ClosedNetwork:
        """Return the steady state at one speed, above 0."""
        return closed_network(self.users, self.think_s, self.demand_s / speed_fraction, self.vcpus)


@dataclass(frozen=True)
class ClosedNetwork:
    """A closed loop in its steady state.

    Attributes
    ----------
    throughput_per_s, response_s : float
        Transactions a second, and their mean response time.
    utilisation_fraction : float
        Utilisation of all vCPUs.
    at_server : float
        Mean number of users who wait for an answer.
    chances : ndarray, shape (users + 1,)
        Probability of each number of waiting users.
    """

    throughput_per_s: float
    response_s: float
    utilisation_fraction: float
    at_server: float
    chances: Floats


def closed_network(users: int, think_s: float, demand_s: float, vcpus: int = 1) -> ClosedNetwork:
    """Compute the steady state of a loop at one speed.

    Parameters
    ----------
    users : int
    think_s, demand_s : float
    vcpus : int

    Raises
    ------
    ParameterError
        For no users, no vCPU, a demand of 0 or a negative think time.

    Examples
    --------
    >>> alone = closed_network(1, 0.9, 0.1)
    >>> round(alone.throughput_per_s, 9), round(alone.response_s, 9)
    (1.0, 0.1)
    >>> closed_network(50, 0.0, 0.1, 2).throughput_per_s
    20.0
    """
    _check(users, think_s, demand_s, vcpus)
    k = np.arange(users + 1)
    chances = np.zeros(users + 1)
    if think_s == 0:
        chances[-1] = 1.0
    else:
        steps = np.log((users - k[1:] + 1) / np.minimum(k[1:], vcpus)) + np.log(demand_s) - np.log(think_s)
        logs = np.concatenate([[0.0], np.cumsum(steps)])
        chances = np.exp(logs - logs.max())
        chances /= chances.sum()
    busy = float(chances @ np.minimum(k, vcpus))
    at_server = float(chances @ k)
    throughput = busy / demand_s
    return ClosedNetwork(throughput, at_server / throughput, busy / vcpus, at_server, chances)


def demand_from_response(
    users: int, think_s: float, response_s: float, vcpus: int = 1, *, tolerance: float = 1e-9
) -> float:
    """Return the demand with which the loop has a given mean response time (the inverse of `closed_network`).

    Parameters
    ----------
    users : int
    think_s, response_s : float
    vcpus : int
    tolerance : float
        Relative error.

    Examples
    --------
    >>> response_s = closed_network(75, 1.0, 0.01).response_s
    >>> round(demand_from_response(75, 1.0, response_s), 6)
    0.01
    """
    _check(users, think_s, response_s, vcpus)
    low, high = response_s * min(vcpus / users, 1.0) / 2, response_s
    while high - low > tolerance * high:
        middle = (low + high) / 2
        if closed_network(users, think_s, middle, vcpus).response_s < response_s:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(users: int, think_s: float, demand_s: float, vcpus: int) -> None:
    if users >= 1 and vcpus >= 1 and 0 <= think_s < np.inf and 0 < demand_s < np.inf:
        return
    raise ParameterError(
        f"{users} users think for {think_s} s and need {demand_s} s of {vcpus} vCPUs.",
        "A closed loop has one user and one vCPU at least, a think time of 0 or more, and a demand above 0.",
        "Correct the figures.",
    )
