"""What both engines share of throttling: settings, the background sync's timer, and when a speed is settled.

The laws are `migsim.models.throttle`. The functions on numbers and records are compiled for the batch engine, too.
"""

from __future__ import annotations

from typing import Protocol

from migsim.engine.inputs import SimulationInput
from migsim.models.throttle.auto_converge import MAX_PERCENTAGE
from migsim.models.throttle.trigger import DEFAULT_THRESHOLD_PERCENT, background_sync_due

__all__ = ["BUILT_IN", "SETTLED_S", "SyncTimer", "speed_settled", "throttle_setting", "tick_asks"]

BUILT_IN: dict[str, int] = {
    "throttle-trigger-threshold": DEFAULT_THRESHOLD_PERCENT,
    "cpu-throttle-initial": 20,
    "cpu-throttle-increment": 10,
    "max-cpu-throttle": MAX_PERCENTAGE,
}
"""What QEMU uses in releases that do not have the parameter."""

SETTLED_S = 30.0
"""A speed that was the same for this long is settled: two dirty-rate periods of any round that is short enough to show
a standstill."""


def throttle_setting(migration: SimulationInput, name: str) -> int:
    """Value of one of the parameters in `BUILT_IN`."""
    return int(migration.parameter(name) or BUILT_IN[name])


def speed_settled(percentage: int, maximum: int, fixed_sleeps: bool, unchanged_s: float) -> bool:
    """Whether auto-converge will not change the guest's speed any more, as far as can be told.

    It is at its maximum, or has been the same for so long that two bad periods would have acted.

    Examples
    --------
    >>> speed_settled(99, 99, False, 0.0), speed_settled(20, 99, False, 5.0), speed_settled(20, 99, False, 31.0)
    (True, False, True)
    """
    return percentage >= maximum or fixed_sleeps or unchanged_s > SETTLED_S


class SyncTimer(Protocol):
    """The background sync's timer.

    Attributes
    ----------
    next_tick : float
        When it ticks next; infinite in releases without it.
    syncs_at_tick : int
        `dirty-sync-count` after its last tick.
    """

    next_tick: float
    syncs_at_tick: int


def tick_asks(timer: SyncTimer, period_s: float, now: float, sync_count: int) -> bool:
    """Let the timer tick until `now`, and say whether it asks for a sync, which the caller then does."""
    due = False
    while now >= timer.next_tick:
        timer.next_tick += period_s
        due = due or background_sync_due(sync_count, timer.syncs_at_tick)
        timer.syncs_at_tick = sync_count + (1 if due else 0)
    return due
