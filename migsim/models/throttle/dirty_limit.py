r"""dirty-limit: the controller that holds every vCPU to a dirty rate (QEMU 8.1 on; needs the dirty ring).

Law
---
The trigger of auto-converge (`migsim.models.throttle.trigger`), the first time it acts, gives every vCPU the quota
`k` = `vcpu-dirty-limit`; later actions change nothing unless the parameter did. From then on a thread measures each
vCPU for `x-vcpu-dirty-limit-period`, syncs, and sets the sleep `s` that the vCPU takes at each full ring
(`migsim.models.dirty.ring`). With `c` the measured rate, :math:`c_{max}` the highest ever seen of any vCPU, the
ring's MiB and every quotient in whole numbers (MiB/s, percent, us):

.. math:: F = \frac{10^6\,\mathrm{ring}}{c_{max}}, \qquad e = \frac{100\,|k - c|}{\max(k, c)}

=================  ===================================================================
:math:`|k-c|`      unchanged
up to 25 MiB/s
:math:`c = 0`      no sleep
:math:`e > 50`     :math:`s` longer (:math:`c > k`) or shorter by :math:`F e/(100-e)`
else               longer or shorter by :math:`F/10`
=================  ===================================================================

and :math:`0 \le s \le 99 F`. A writer with the rate :math:`c_0` while it runs then writes

.. math:: c = \frac{f}{f/c_0 + s}, \qquad f = \text{MiB of a full ring}

so it stays anywhere within 25 MiB/s of the quota. A measurement shorter than a ring takes to fill never sees it full,
and one that ends in a long sleep counts the ring it found full over the period alone: with :math:`s` above the period
it reads `ring/period`, however long `s` is.

Reported: `dirty-limit-throttle-time-per-round` is the longest `s`; `dirty-limit-ring-full-time` is `F` for the mean
rate of the running vCPUs, or the peak where that is higher. :math:`c_{max}` is never forgotten while QEMU lives, and
the limit ends with a cancelled migration only.

Mirrors: `softmmu/dirtylimit.c`, `system/dirtylimit.c`, `migration/dirtyrate.c` (8.1 to 10.2).
Leaves out: asking for `query-migrate`, which can raise the peak; vCPUs plugged in on the way.
Source: QEMU's release trees; the mechanics reference, section 5.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migsim.errors import ParameterError
from migsim.models.dirty.ring import RingInterval, ring_fill_pages, ring_interval
from migsim.qapi import QemuVersion

__all__ = [
    "LINEAR_PERCENT",
    "MAX_SLEEP_PERCENT",
    "PERIOD_MS",
    "TOLERANCE_MIB_PER_S",
    "LimitState",
    "Settled",
    "full_time_us",
    "measured_rate",
    "ring_full_time_us",
    "settle",
    "step",
    "throttle_time_per_round_us",
]

TOLERANCE_MIB_PER_S = 25
"""A rate within this distance of the quota leaves the vCPU's sleep unchanged."""

LINEAR_PERCENT = 50
"""Above this error the sleep changes in proportion to it; else by a tenth of the ring's fill time."""

MAX_SLEEP_PERCENT = 99
"""Longest sleep, in fill times of the ring."""

PERIOD_MS = 1000
"""Default and maximum of `x-vcpu-dirty-limit-period`."""

PAGES_PER_MIB = 256


@dataclass(frozen=True, slots=True)
class LimitState:
    """The controller between two measurements.

    Attributes
    ----------
    sleep_us : tuple of int
        Sleep of each vCPU at a full ring.
    peak_mib_per_s : int
        Highest rate measured so far of any vCPU outside the tolerance.
    """

    sleep_us: tuple[int, ...]
    peak_mib_per_s: int = 0

    @classmethod
    def start(cls, vcpus: int) -> LimitState:
        """Return the state when the limit is set: no vCPU sleeps before the first measurement has ended."""
        return cls((0,) * vcpus)


def full_time_us(ring_entries: int, peak_mib_per_s: int) -> int:
    """Return the time in which QEMU takes a ring to fill: all its entries, at the peak rate.

    Examples
    --------
    >>> full_time_us(4096, 80)
    200000
    """
    return ring_entries // PAGES_PER_MIB * 1_000_000 // peak_mib_per_s


def step(
    state: LimitState, *, quota_mib_per_s: int, measured_mib_per_s: Sequence[int], ring_entries: int
) -> LimitState:
    """Return the state after a measurement: every vCPU's sleep adjusted.

    Parameters
    ----------
    state : LimitState
    quota_mib_per_s : int
        `vcpu-dirty-limit`.
    measured_mib_per_s : sequence of int
        Rate of each vCPU, as `measured_rate` returns it.
    ring_entries : int
        `dirty-ring-size`.

    Raises
    ------
    ParameterError
        For a quota below 1, or for a number of rates that is not the number of vCPUs.

    Examples
    --------
    >>> step(LimitState.start(2), quota_mib_per_s=10, measured_mib_per_s=[80, 20], ring_entries=4096)
    LimitState(sleep_us=(1338461, 0), peak_mib_per_s=80)
    """
    if quota_mib_per_s < 1:
        raise ParameterError(
            f"vcpu-dirty-limit is {quota_mib_per_s}.", "QEMU takes whole MiB/s from 1 on.", "Use 1 or more."
        )
    if len(measured_mib_per_s) != len(state.sleep_us):
        raise ParameterError(
            f"{len(measured_mib_per_s)} rates for {len(state.sleep_us)} vCPUs.",
            "The limit measures every vCPU.",
            "Give one rate for each vCPU.",
        )
    sleeps, peak = [], state.peak_mib_per_s
    for sleep, rate in zip(state.sleep_us, measured_mib_per_s, strict=True):
        gap = abs(quota_mib_per_s - rate)
        if gap <= TOLERANCE_MIB_PER_S:
            sleeps.append(sleep)
            continue
        if rate == 0:
            sleeps.append(0)
            continue
        peak = max(peak, rate)
        full = full_time_us(ring_entries, peak)
        percent = gap * 100 // max(quota_mib_per_s, rate)
        change = int(full * percent / (100 - percent)) if percent > LINEAR_PERCENT else full // 10
        sleep += change if rate > quota_mib_per_s else -change
        sleeps.append(max(min(sleep, full * MAX_SLEEP_PERCENT), 0))
    return LimitState(tuple(sleeps), peak)


def measured_rate(pages: int, period_ms: int = PERIOD_MS, version: QemuVersion | str = "10.0") -> int:
    """Return the dirty rate of a vCPU as the limit measures it, in whole MiB/s.

    `pages` is a number of ring entries. QEMU before 8.2 cuts it to whole MiB first, which matters in short periods.

    Examples
    --------
    >>> measured_rate(500, 100, "8.1"), measured_rate(500, 100, "8.2")
    (10, 19)
    """
    if not 1 <= period_ms <= PERIOD_MS:
        raise ParameterError(
            f"x-vcpu-dirty-limit-period is {period_ms}.",
            f"QEMU takes 1 to {PERIOD_MS} ms.",
            f"Use {min(max(period_ms, 1), PERIOD_MS)}.",
        )
    if QemuVersion.parse(version) < QemuVersion.parse("8.2"):
        return pages // PAGES_PER_MIB * 1000 // period_ms
    return pages * 1000 // PAGES_PER_MIB // period_ms


@dataclass(frozen=True, slots=True)
class Settled:
    """The controller's steady state for one steady writer.

    Attributes
    ----------
    sleep_us : int
    rate_mib_per_s : float
        Dirty rate of the writer; the time that syncs wait is included.
    run_fraction : float
        Share of time that the writer runs.
    periods : int or None
        Measurements until the sleep changed for the last time; None where it never stopped changing.
    """

    sleep_us: int
    rate_mib_per_s: float
    run_fraction: float
    periods: int | None


def settle(
    unthrottled_mib_per_s: float,
    *,
    quota_mib_per_s: int,
    ring_entries: int,
    period_ms: int = PERIOD_MS,
    pml: bool = False,
    version: QemuVersion | str = "10.0",
    most_periods: int = 200,
) -> Settled:
    """Run the controller on one vCPU that, while it runs, writes distinct pages at a steady rate.

    Examples
    --------
    >>> settled = settle(80, quota_mib_per_s=10, ring_entries=4096)
    >>> settled.sleep_us, round(settled.rate_mib_per_s, 2), settled.periods
    (1338461, 10.26, 1)
    >>> settle(80, quota_mib_per_s=10, ring_entries=4096, period_ms=100).run_fraction  # never full in 100 ms
    1.0
    """
    fill_pages = ring_fill_pages(ring_entries, pml=pml)
    pages_per_s = unthrottled_mib_per_s * PAGES_PER_MIB
    state, periods = LimitState.start(1), 0
    while True:
        interval = ring_interval(fill_pages / pages_per_s, state.sleep_us[0] * 1e-6, period_ms / 1000)
        rate = measured_rate(int(_pages(interval, fill_pages, pages_per_s)), period_ms, version)
        new = step(
            state, quota_mib_per_s=quota_mib_per_s, measured_mib_per_s=[rate], ring_entries=ring_entries
        )
        if new.sleep_us == state.sleep_us or periods == most_periods:
            break
        state, periods = new, periods + 1
    run = interval.run_s / interval.length_s
    return Settled(
        state.sleep_us[0],
        run * unthrottled_mib_per_s,
        run,
        periods if new.sleep_us == state.sleep_us else None,
    )


def throttle_time_per_round_us(state: LimitState) -> int:
    """Return `dirty-limit-throttle-time-per-round` of QMP: the longest sleep of any vCPU.

    Examples
    --------
    >>> throttle_time_per_round_us(LimitState((3, 5), 80))
    5
    """
    return max(state.sleep_us, default=0)


def ring_full_time_us(state: LimitState, measured_mib_per_s: Sequence[int], ring_entries: int) -> int:
    """Return `dirty-limit-ring-full-time` of QMP, from the last rates of the running vCPUs; 0 where all are 0.

    Examples
    --------
    >>> ring_full_time_us(LimitState((0,), 80), [10], 4096), ring_full_time_us(LimitState((0,), 80), [0], 4096)
    (200000, 0)
    """
    if not sum(measured_mib_per_s):
        return 0
    mean = sum(measured_mib_per_s) // len(measured_mib_per_s)
    peak = max(state.peak_mib_per_s, mean)
    return full_time_us(ring_entries, peak) if peak else 0


def _pages(interval: RingInterval, fill_pages: float, pages_per_s: float) -> float:
    return interval.fulls * fill_pages + interval.rest_s * pages_per_s
