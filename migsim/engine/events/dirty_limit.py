"""dirty-limit in the event engine: vCPUs that fill their rings and sleep, and the thread that sets their sleep.

A vCPU runs until its ring is full, sleeps, and runs on. Whoever needs all vCPUs (a bitmap sync, a measurement, the
switchover) waits until the last of them has woken up; a sync empties every ring. The laws are
`migsim.models.throttle.dirty_limit`, `dirty_ring` and `throttle_trigger`.
"""

from __future__ import annotations

from math import inf

import numpy as np

from migsim.engine.events.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.models.dirty.ring import ring_fill_pages, ring_fill_s
from migsim.models.loop.query_migrate import Counters
from migsim.models.throttle.dirty_limit import (
    PERIOD_MS,
    LimitState,
    measured_rate,
    ring_full_time_us,
    step,
    throttle_time_per_round_us,
)
from migsim.models.throttle.trigger import Trigger, close_trigger, throttle_rules

__all__ = ["DirtyLimit"]

EVERY_WRITE = 1.02
"""More entries a write than this: the host puts every write into the ring, not only the first to a page."""


class DirtyLimit:
    """The vCPUs' rings and the controller, advanced lazily to the times that the migration thread asks about.

    Parameters
    ----------
    migration : SimulationInput
        With `dirty_ring_size` and `vcpus`.
    clock : GuestClock
        Its speed is set: the share of vCPUs awake.
    counters : Counters
        `ring_sleep_us` and `ring_full_us` are kept.
    """

    def __init__(self, migration: SimulationInput, clock: GuestClock, counters: Counters) -> None:
        self.migration, self.clock, self.counters = migration, clock, counters
        self.rules = throttle_rules(migration.version)
        self.trigger = Trigger()
        self.entries = migration.dirty_ring_size
        self.fill_pages = ring_fill_pages(self.entries)
        self.fill_s = self._fill_s()
        self.state: LimitState | None = None
        self._threshold = int(migration.parameter("throttle-trigger-threshold") or 50)
        self._quota = int(migration.parameter("vcpu-dirty-limit") or 1)
        self._period_ms = int(migration.parameter("x-vcpu-dirty-limit-period") or PERIOD_MS)
        self._filled = [0.0] * migration.vcpus  # time that each ring's owner has run since it was emptied
        self._wakes = [0.0] * migration.vcpus  # end of its sleep
        self._counted = [0.0] * migration.vcpus  # entries since the measurement began
        self._at = 0.0
        self._measures_at = inf

    def close_period(self, now: float, dirty_bytes: float, transferred_bytes: float) -> None:
        """Close a dirty-rate period at a sync; the limit is set the first time that the trigger acts."""
        self.trigger = close_trigger(
            self.trigger,
            dirty_bytes=round(dirty_bytes),
            transferred_bytes=round(transferred_bytes),
            rules=self.rules,
            threshold_percent=self._threshold,
        )
        if self.trigger.acts and self.state is None:
            self._at = now
            self._begin_measuring(now)
            self._set(LimitState.start(self.migration.vcpus), [0] * self.migration.vcpus)

    def settled(self, now: float) -> bool:
        """Whether the sleeps will not change any more, as far as can be told."""
        return self.state is not None and now - self._changed_at > 10 * self._period_ms / 1000

    def wait_s(self, now: float) -> float:
        """How long the last vCPU will sleep on."""
        self.advance(now)
        return max(0.0, max(self._wakes) - now)

    def reaped(self, now: float) -> None:
        """Note that a sync has emptied every ring; all vCPUs are awake."""
        self.advance(now)
        if self.state is not None:
            self._empty(now)

    def _fill_s(self) -> float:
        w = self.migration.workload
        pages = np.array([c.pages for c in w.classes], float)
        rates = np.array([c.writes_per_page_per_s for c in w.classes]) / self.migration.vcpus
        each = self.migration.terms["ring_entries_per_write"]
        if each > EVERY_WRITE:
            return self.fill_pages / max(float(pages @ rates) * each, 1e-9)
        sweeps = np.array([c.pattern == "sweep" for c in w.classes])
        return ring_fill_s(pages, rates, sweeps, self.fill_pages)

    def advance(self, now: float) -> None:
        """Let the vCPUs run and sleep, and the controller measure, until `now`."""
        while self.state is not None and self._at < now:
            steps = [self._next_change(v) for v in range(len(self._filled))]
            until = min(now, *steps)
            measures = self._measures_at <= until
            if measures:
                until = max(self._measures_at, self._at)
            for v, filled in enumerate(self._filled):
                if self._wakes[v] <= self._at:
                    self._filled[v] = filled + until - self._at
            self._at = until
            if measures:
                self._measure(self.state)
                continue
            for v, filled in enumerate(self._filled):
                if self._wakes[v] <= until and filled >= self.fill_s - 1e-12:
                    self._counted[v] += self.fill_pages
                    self._filled[v] = 0.0
                    self._wakes[v] = until + self.state.sleep_us[v] * 1e-6
            self._set_speed()

    def _next_change(self, v: int) -> float:
        if self._wakes[v] > self._at:
            return self._wakes[v]
        return self._at + max(self.fill_s - self._filled[v], 0.0)

    def _set_speed(self) -> None:
        awake = sum(wakes <= self._at for wakes in self._wakes)
        self.clock.set_speed(self._at, awake / len(self._wakes))

    def _empty(self, at: float) -> None:
        for v, filled in enumerate(self._filled):
            self._counted[v] += self.fill_pages * min(filled / self.fill_s, 1.0)
            self._filled[v] = 0.0
        self._set_speed()

    def _begin_measuring(self, now: float) -> None:
        self._counted = [0.0] * len(self._counted)
        self._measures_at = now + self._period_ms / 1000
        self._changed_at = now

    def _measure(self, state: LimitState) -> None:
        """End a measurement: it syncs, so it waits for sleepers; then the sleeps are set anew."""
        if max(self._wakes) > self._at:
            self._measures_at = max(self._wakes)
            return
        self._empty(self._at)
        rates = [measured_rate(round(n), self._period_ms, self.migration.version) for n in self._counted]
        changed_at = self._changed_at
        new = step(state, quota_mib_per_s=self._quota, measured_mib_per_s=rates, ring_entries=self.entries)
        self._begin_measuring(self._at)
        if new.sleep_us == state.sleep_us:
            self._changed_at = changed_at
        self._set(new, rates)

    def _set(self, state: LimitState, rates: list[int]) -> None:
        self.state = state
        self.counters.ring_sleep_us = throttle_time_per_round_us(state)
        self.counters.ring_full_us = ring_full_time_us(state, rates, self.entries)
