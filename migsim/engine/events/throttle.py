"""Auto-converge in the event engine: periods closed at syncs, the guest's speed, the background sync's timer.

The laws are `migsim.models.throttle.trigger`, `auto_converge` and `cpu_throttle`.
"""

from __future__ import annotations

from migsim.engine.events.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.models.loop.query_migrate import Counters
from migsim.models.throttle.auto_converge import ThrottleState, close_period
from migsim.models.throttle.cpu_throttle import fixed_sleep_run_fraction, run_fraction
from migsim.models.throttle.trigger import background_sync_due, throttle_rules

__all__ = ["Throttle"]

SETTLED_S = 30.0
"""Longer than two periods of any round that is short enough to show a standstill."""


class Throttle:
    """What the migration thread remembers to throttle the guest's vCPUs.

    Parameters
    ----------
    migration : SimulationInput
    clock : GuestClock
        Its speed is set.
    counters : Counters
        `throttle_percentage` is kept.
    burst_s : float
        For how long of every window the iterate loop runs: what drives the fixed sleeps up to 2.4.
    """

    def __init__(
        self, migration: SimulationInput, clock: GuestClock, counters: Counters, burst_s: float
    ) -> None:
        self.rules = throttle_rules(migration.version)
        self.clock = clock
        self.counters = counters
        self.state = ThrottleState()
        self._fixed_speed = fixed_sleep_run_fraction(burst_s)
        self._threshold = int(migration.parameter("throttle-trigger-threshold") or 50)
        self._initial = int(migration.parameter("cpu-throttle-initial") or 20)
        self._increment = int(migration.parameter("cpu-throttle-increment") or 10)
        self._maximum = int(migration.parameter("max-cpu-throttle") or 99)
        self._tailslow = bool(migration.parameter("cpu-throttle-tailslow"))
        self._tick_s = self.rules.background_sync_s
        self._next_tick = self._tick_s or float("inf")
        self._syncs_at_tick = 0

    def close_period(self, now: float, dirty_bytes: float, transferred_bytes: float) -> None:
        """Close a dirty-rate period at a sync, and throttle where it is time to."""
        self.state = close_period(
            self.state,
            dirty_bytes=round(dirty_bytes),
            transferred_bytes=round(transferred_bytes),
            rules=self.rules,
            threshold_percent=self._threshold,
            initial=self._initial,
            increment=self._increment,
            maximum=self._maximum,
            tailslow=self._tailslow,
        )
        if self.state.fixed_sleeps:
            self.clock.set_speed(now, self._fixed_speed)
        elif self.state.percentage:
            self.clock.set_speed(now, run_fraction(self.state.percentage))
            self.counters.throttle_percentage = self.state.percentage

    def settled(self, now: float) -> bool:
        """Whether the speed will not change any more, as far as can be told.

        It is at its maximum, or was the same for so long that two bad periods would have acted.
        """
        if self.state.percentage >= self._maximum or self.state.fixed_sleeps:
            return True
        return now - self.clock.steps[-1][0] > SETTLED_S

    @property
    def next_tick_s(self) -> float:
        """When the background sync's timer ticks next; infinite without one."""
        return self._next_tick

    def background_sync_due(self, now: float) -> bool:
        """Whether the timer has ticked and asks for a sync, which the caller then does."""
        due = False
        while now >= self._next_tick and self._tick_s:
            self._next_tick += self._tick_s
            count = self.counters.dirty_sync_count
            due = due or background_sync_due(sync_count=count, sync_count_at_last_tick=self._syncs_at_tick)
            self._syncs_at_tick = count + due
        return due
