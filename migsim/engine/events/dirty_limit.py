"""dirty-limit in the event engine: vCPUs that sleep when their dirty ring is full, and the thread that limits them.

A vCPU runs until its ring is full, sleeps, and runs on. Whoever needs all vCPUs (a bitmap sync, a measurement, the
switchover) waits until the last of them has woken up, and a sync empties every ring. The laws are
`migsim.models.throttle.dirty_limit`, `migsim.models.dirty.ring` and `migsim.models.throttle.trigger`.
"""

from __future__ import annotations

from math import inf

import numpy as np

from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.throttling import throttle_setting
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
"""With more ring entries a write than this, the host puts every write into the ring, not only the first to a page."""


class DirtyLimit:
    """The vCPUs' rings and the thread that sets their sleeps, advanced to the times that the migration thread asks for.

    Parameters
    ----------
    migration : SimulationInput
        With `dirty_ring_size` and `vcpus`.
    clock : GuestClock
        Its speed is set to the share of the vCPUs that are awake.
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
        self._threshold = throttle_setting(migration, "throttle-trigger-threshold")
        self._quota = int(migration.parameter("vcpu-dirty-limit") or 1)
        self._period_ms = int(migration.parameter("x-vcpu-dirty-limit-period") or PERIOD_MS)
        self._filled = [0.0] * migration.vcpus  # run time of each vCPU since its ring was emptied
        self._wakes = [0.0] * migration.vcpus  # end of its sleep
        self._counted = [0.0] * migration.vcpus  # its ring's entries since the measurement began
        self._at = 0.0
        self._measures_at = inf

    def close_period(self, now: float, dirty_bytes: float, transferred_bytes: float) -> None:
        """End the dirty-rate period at a bitmap sync; the first period that acts turns the limit on."""
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
        """Time until the last vCPU wakes up."""
        self.advance(now)
        return max(0.0, max(self._wakes) - now)

    def empty_rings(self, now: float) -> None:
        """Let a sync empty every ring; all vCPUs are awake."""
        self.advance(now)
        if self.state is not None:
            self._empty(now)

    def _fill_s(self) -> float:
        """Run time in which a vCPU fills its ring."""
        workload = self.migration.workload
        pages = np.array([c.pages for c in workload.classes], float)
        rates = np.array([c.writes_per_page_per_s for c in workload.classes]) / self.migration.vcpus
        entries_per_write = self.migration.terms["ring_entries_per_write"]
        if entries_per_write > EVERY_WRITE:
            return self.fill_pages / max(float(pages @ rates) * entries_per_write, 1e-9)
        sweeps = np.array([c.pattern == "sweep" for c in workload.classes])
        return ring_fill_s(pages, rates, sweeps, self.fill_pages)

    def advance(self, now: float) -> None:
        """Let the vCPUs run and sleep, and their rates be measured, until `now`."""
        while self.state is not None and self._at < now:
            changes = [self._next_change(vcpu) for vcpu in range(len(self._filled))]
            until = min(now, *changes)
            measures = self._measures_at <= until
            if measures:
                until = max(self._measures_at, self._at)
            for vcpu, filled in enumerate(self._filled):
                if self._wakes[vcpu] <= self._at:
                    self._filled[vcpu] = filled + until - self._at
            self._at = until
            if measures:
                self._measure(self.state)
                continue
            for vcpu, filled in enumerate(self._filled):
                if self._wakes[vcpu] <= until and filled >= self.fill_s - 1e-12:
                    self._counted[vcpu] += self.fill_pages
                    self._filled[vcpu] = 0.0
                    self._wakes[vcpu] = until + self.state.sleep_us[vcpu] * 1e-6
            self._set_speed()

    def _next_change(self, vcpu: int) -> float:
        """When a vCPU wakes up or its ring is full."""
        if self._wakes[vcpu] > self._at:
            return self._wakes[vcpu]
        return self._at + max(self.fill_s - self._filled[vcpu], 0.0)

    def _set_speed(self) -> None:
        awake = sum(wakes <= self._at for wakes in self._wakes)
        self.clock.set_speed(self._at, awake / len(self._wakes))

    def _empty(self, at: float) -> None:
        for vcpu, filled in enumerate(self._filled):
            self._counted[vcpu] += self.fill_pages * min(filled / self.fill_s, 1.0)
            self._filled[vcpu] = 0.0
        self._set_speed()

    def _begin_measuring(self, now: float) -> None:
        self._counted = [0.0] * len(self._counted)
        self._measures_at = now + self._period_ms / 1000
        self._changed_at = now

    def _measure(self, state: LimitState) -> None:
        """End a measurement and set the sleeps; a measurement syncs, so it waits for vCPUs that sleep."""
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
