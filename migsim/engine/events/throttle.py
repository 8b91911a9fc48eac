"""Auto-converge in the event engine: the dirty-rate period at a sync, the guest's speed, the background sync's timer.

The laws are `migsim.models.throttle.trigger`, `auto_converge` and `cpu_throttle`; what the batch engine shares is
`migsim.engine.throttling`.
"""

from __future__ import annotations

from math import inf

from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.throttling import speed_settled, throttle_setting, tick_asks
from migsim.models.loop.query_migrate import Counters
from migsim.models.throttle.auto_converge import ThrottleState, close_period
from migsim.models.throttle.cpu_throttle import fixed_sleep_run_fraction, run_fraction
from migsim.models.throttle.slices import throttled_speed
from migsim.models.throttle.trigger import throttle_rules

__all__ = ["Throttle"]


class Throttle:
    """Auto-converge of one migration; a `migsim.engine.throttling.SyncTimer`.

    Parameters
    ----------
    migration : SimulationInput
    clock : GuestClock
        Its speed is set.
    counters : Counters
        `throttle_percentage` is kept.
    burst_s : float
        Time of every window in which the iterate loop runs; the fixed sleeps of releases up to 2.4 depend on it.
    """

    def __init__(
        self, migration: SimulationInput, clock: GuestClock, counters: Counters, burst_s: float
    ) -> None:
        self.rules = throttle_rules(migration.version)
        self.clock = clock
        self.counters = counters
        self.state = ThrottleState()
        self._fixed_speed = fixed_sleep_run_fraction(burst_s)
        self._threshold = throttle_setting(migration, "throttle-trigger-threshold")
        self._initial = throttle_setting(migration, "cpu-throttle-initial")
        self._increment = throttle_setting(migration, "cpu-throttle-increment")
        self._maximum = throttle_setting(migration, "max-cpu-throttle")
        self._tailslow = bool(migration.parameter("cpu-throttle-tailslow"))
        self._slice_lost_s, self._slice_cools_s = (
            migration.terms.get(name, 0.0) for name in ("slice_lost_s", "slice_cools_s")
        )
        self._tick_s = self.rules.background_sync_s or inf
        self.next_tick = self._tick_s
        self.syncs_at_tick = 0

    def close_period(self, now: float, dirty_bytes: float, transferred_bytes: float) -> None:
        """End the dirty-rate period at a bitmap sync, and throttle the guest where the period acts."""
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
            runs = run_fraction(self.state.percentage)
            self.clock.set_speed(now, throttled_speed(runs, self._slice_lost_s, self._slice_cools_s))
            self.counters.throttle_percentage = self.state.percentage

    def settled(self, now: float) -> bool:
        """Whether the speed will not change any more, as far as can be told."""
        state = self.state
        return speed_settled(state.percentage, self._maximum, state.fixed_sleeps, now - self.clock.since)

    def background_sync_due(self, now: float) -> bool:
        """Whether the timer has ticked and asks for a sync, which the caller then does."""
        return tick_asks(self, self._tick_s, now, self.counters.dirty_sync_count)
