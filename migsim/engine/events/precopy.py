"""The migration thread of the event engine: a precopy migration as a SimPy process.

An event is an iterate call, a bitmap sync, a sleep under the rate limit or a step of the switchover, never a page.
Every number comes from a law in `migsim.models`; this file holds the order and the times of the events. The batch
engine holds the same order in `migsim.engine.batch.loop`.

Mirrors: `migration/migration.c` migration_thread, migration_iteration_run, migration_rate_limit (7.2, 10.0).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from math import hypot, inf
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from migsim.engine.events.dirty_limit import DirtyLimit
from migsim.engine.events.memory import GuestMemory, fluid_memory
from migsim.engine.events.multifd import MultifdSender
from migsim.engine.events.recorder import Recorder
from migsim.engine.events.repeated_windows import Mark
from migsim.engine.events.throttle import Throttle
from migsim.engine.inputs import SimulationInput
from migsim.engine.pages.memory import PageMemory
from migsim.engine.sending import Sent, send_costs
from migsim.engine.standstill import deviations, far_above, is_flat, many_rounds, steady_rounds, trend
from migsim.models.dirty.bitmap import setup_s, sync_s
from migsim.models.guest.speed import GuestMark
from migsim.models.loop import migration_thread as thread
from migsim.models.loop.page_stream import ITERATE_BYTES, NORMAL_PAGE_BYTES, SECTION_BYTES, ram_bytes_of
from migsim.models.loop.query_migrate import Counters
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, wake_up_s, window_bytes, window_quota_bytes
from migsim.models.loop.switchover import Blackout, blackout
from migsim.models.multifd.packets import counted_pages
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES

__all__ = ["CallBudget", "TooManyCallsError", "simulate"]

Floats = NDArray[np.float64]
Steps = Generator[simpy.Event, Any, None]


class TooManyCallsError(Exception):
    """The simulation took more iterate calls than it may."""


@dataclass(slots=True)
class CallBudget:
    """Iterate calls that simulations may still take together.

    A bitmap sync counts as `CALLS_A_SYNC` of them, or `CALLS_A_CACHED_SYNC`.
    """

    left: float


CALLS_A_SYNC = 30
"""Iterate calls that cost as much time of the processor as a bitmap sync and the short round after it."""

CALLS_A_CACHED_SYNC = 300
"""The same where the round goes through XBZRLE's cache, segment by segment."""


def simulate(
    migration: SimulationInput,
    *,
    seed: int | None = None,
    memory: PageMemory | None = None,
    calls: CallBudget | None = None,
) -> MigrationResult:
    """Simulate one precopy migration.

    Parameters
    ----------
    migration : SimulationInput
    seed : int, optional
        Draw dirty counts around their expectation with this seed; None: expected counts.
    memory : PageMemory, optional
        The guest's memory page by page (see `migsim.engine.pages.replay`); by default the segments of its workload.
    calls : CallBudget, optional
        Iterate calls that the simulation may take, less by those that it took when it returns.

    Raises
    ------
    TooManyCallsError
        Where the budget is used up.

    Returns
    -------
    MigrationResult
        Kind "simulated". A migration that does not converge is a result with that outcome.
    """
    environment = simpy.Environment()
    run = _Precopy(environment, migration, memory or fluid_memory(migration, seed), calls)
    environment.run(until=environment.process(run.migrate()))
    return run.recorder.result(migration, seed, run.clock)


class _Precopy:
    """The migration thread of one guest."""

    def __init__(
        self,
        environment: simpy.Environment,
        migration: SimulationInput,
        memory: GuestMemory | PageMemory,
        calls: CallBudget | None,
    ) -> None:
        self.calls = calls or CallBudget(inf)
        self.env = environment
        self.migration = migration
        self.terms = migration.terms
        self.behaviour = migration.behaviour
        self.memory = memory
        self.clock = memory.clock
        link = NORMAL_PAGE_BYTES / migration.link_bytes_per_s if migration.link_bytes_per_s else 0.0
        self.zero_pages = migration.zero_pages
        self.costs, self.burst = send_costs(migration.terms, link, self.zero_pages)
        self.limit_ms = float(migration.parameter("downtime-limit"))
        max_bandwidth = int(migration.parameter("max-bandwidth"))
        quota = window_quota_bytes(max_bandwidth)
        self._quotas = [
            window_bytes(quota, NORMAL_PAGE_BYTES, self.behaviour.quota_charged_at, copied=copied)
            for copied in (False, True)
        ]
        self.wake_up_s = wake_up_s(
            max_bandwidth,
            window_overhead_s=migration.terms["window_overhead_s"],
            window_overhead_s_per_gib_per_s=migration.terms["window_overhead_s_per_gib_per_s"],
        )
        self.switchover_bytes_per_s = 0
        if self.behaviour.avail_switchover_bandwidth:
            self.switchover_bytes_per_s = int(migration.parameter("avail-switchover-bandwidth"))
        self.counters = Counters(migration.workload.ram_total_bytes, downtime_limit_ms=self.limit_ms)
        self.multifd: MultifdSender | None = None
        if migration.has_capability("multifd"):
            self.multifd = MultifdSender(migration, self.clock, self.counters)
            self.costs, self.burst = self.multifd.costs, self.multifd.burst
            self.memory.set_page_bytes(*self.multifd.page_bytes)
        elif self.zero_pages == "none":
            self.memory.set_page_bytes(NORMAL_PAGE_BYTES, NORMAL_PAGE_BYTES)
        if self.memory.xbzrle is not None:
            self.counters.xbzrle = self.memory.xbzrle.counters
        self.recorder = Recorder(self.counters, self.behaviour)
        burst_s = self.quota / NORMAL_PAGE_BYTES * self.costs.normal_page_s
        self.throttle: Throttle | DirtyLimit | None = None
        if migration.has_capability("auto-converge"):
            self.throttle = Throttle(migration, self.clock, self.counters, min(burst_s, WINDOW_S))
        elif migration.has_capability("dirty-limit"):
            self.throttle = DirtyLimit(migration, self.clock, self.counters)
        self.threshold = 0.0
        self.dirty_after_sync = 0.0
        self.period_start = 0.0
        self.period_pages = 0.0
        self.period_transferred = 0.0
        self.tests: list[float] = []
        # Number of tests and threshold that last showed no standstill
        self.no_standstill_at: tuple[int, float] | None = None
        self.mark: Mark | None = None
        self.last_window_pages = 0.0

    def migrate(self) -> Steps:
        """Run from the QMP command to completion, or to the deadline."""
        yield self.env.timeout(self.terms["connect_s"])
        self.window_start, self.window_stream, self.window_pages = self.env.now, 0.0, 0.0
        yield from self._set_up()
        while self.env.now < self.migration.deadline_s:
            if isinstance(self.throttle, Throttle) and self.throttle.background_sync_due(self.env.now):
                yield from self._sync()
            if self.window_used < self.quota:
                if thread.needs_exact(self.remaining_bytes, self.threshold):
                    yield from self._sync()
                    self.tests.append(self.remaining_bytes)
                if thread.may_switch_over(
                    self.remaining_bytes, self.threshold, self.behaviour.threshold_inclusive
                ):
                    yield from self._complete()
                    return
                if self._stands_still():
                    break
                yield from self._iterate()
            over = self.env.now >= self.window_start + WINDOW_S
            if not over and self.window_used >= self.quota:
                wake = self.window_start + WINDOW_S + self.wake_up_s
                yield self.env.timeout(max(wake - self.env.now, 0.0))
                over = True
            if over:
                self._close_window()
                yield from self._repeat_window()
        self.recorder.guest_lost_s = self.env.now - self._guest_s()
        self.recorder.give_up(
            self.env.now, self.migration.deadline_s, self.threshold, self.tests, self._stands_still()
        )

    @property
    def quota(self) -> float:
        """Bytes that a window carries."""
        if self.multifd is not None:
            return self.multifd.window_bytes
        return self._quotas[self.xbzrle_active]

    @property
    def xbzrle_active(self) -> bool:
        """Whether pages go through XBZRLE's cache."""
        return self.memory.xbzrle is not None and self.memory.xbzrle.started

    @property
    def remaining_bytes(self) -> float:
        return self.memory.remaining_pages * PAGE_BYTES

    @property
    def window_used(self) -> float:
        return self.counters.ram_stream + self.counters.other_stream - self.window_stream

    def _set_up(self) -> Steps:
        """Start the dirty log and sync for the first time; the first window of the rate limit has already begun."""
        begun = self.recorder.setup_began_s = self.env.now
        length = setup_s(
            self.migration.workload.ram_total_bytes,
            setup_base_s=self.terms["setup_base_s"],
            setup_s_per_gib=self.terms["setup_s_per_gib"],
        )
        yield self.env.timeout(length)
        if self.multifd is not None:
            self.multifd.set_up()
        self.counters.setup_s = self.env.now - begun
        self.memory.start(self.env.now)
        self._mark_guest(self.env.now)
        self.guest_began_s = self.memory.guest_s - self.env.now  # the guest works during the setup
        self.period_start = self.env.now
        first_sync_s = self._sync_seconds()  # the last part of the setup
        self._count_sync(max(self.env.now - first_sync_s, begun), first_sync_s, 0.0)

    def _sync_seconds(self) -> float:
        return sync_s(
            self.migration.workload.ram_total_bytes,
            sync_base_s=self.terms["sync_base_s"],
            sync_s_per_gib=self.terms["sync_s_per_gib"],
        )

    def _sync(self) -> Steps:
        """Sync the bitmap: pages written until the sync begins become dirty, and nothing is sent meanwhile."""
        self.calls.left -= CALLS_A_SYNC if self.memory.xbzrle is None else CALLS_A_CACHED_SYNC
        begun, self.mark = self.env.now, None
        yield self.env.timeout(self._asleep_s())
        new = self._sync_memory(self.env.now)
        yield self.env.timeout(self._sync_seconds())
        length = self.env.now - begun
        self.period_pages += new
        if self.env.now > self.period_start + thread.DIRTY_RATE_PERIOD_S:
            self.counters.dirty_pages_rate = thread.dirty_pages_rate(
                self.period_pages, self.env.now - self.period_start
            )
            self._close_period()
        self._count_sync(begun, length, new)

    def _sync_memory(self, at: float) -> float:
        new = self.memory.sync(at)
        self._mark_guest(at)
        return new

    def _mark_guest(self, at: float) -> None:
        self.recorder.guest_marks.append(GuestMark(at, self.clock.run_s(at), self.memory.guest_s))

    def _asleep_s(self) -> float:
        """Time until the last sleeping vCPU wakes up; a sync waits for it and then empties all rings."""
        if not isinstance(self.throttle, DirtyLimit):
            return 0.0
        wait = self.throttle.wait_s(self.env.now)
        self.throttle.empty_rings(self.env.now + wait)
        return wait

    def _close_period(self) -> None:
        """End the dirty-rate period: migration_trigger_throttle, then migration_update_rates for XBZRLE."""
        c = self.counters
        transferred = c.transferred(self.behaviour)
        if self.throttle is not None:
            self.throttle.close_period(
                self.env.now, self.period_pages * PAGE_BYTES, transferred - self.period_transferred
            )
        if c.xbzrle is not None:
            c.xbzrle.close_period(c.normal + c.duplicate)
        self.period_start, self.period_pages, self.period_transferred = self.env.now, 0.0, transferred

    def _count_sync(self, begun: float, length: float, new_pages: float) -> None:
        self.dirty_after_sync = self.remaining_bytes
        self.counters.remaining_bytes = self.remaining_bytes
        self.counters.dirty_sync_count += 1
        self.recorder.guest_lost_s = self.env.now - self._guest_s()
        self.recorder.sync(begun, length, new_pages, self.remaining_bytes)

    def _iterate(self) -> Steps:
        """Send until the iterate call's time or the quota is used up, or nothing is dirty (ram_save_iterate)."""
        self.calls.left -= 1
        if self.calls.left < 0:
            raise TooManyCallsError
        before = self.memory.cursor
        sent = self.memory.send(self.env.now, ITERATE_MAX_S, self.quota - self.window_used, self.costs)
        yield self.env.timeout(sent.seconds)
        if self.multifd is not None:
            wrapped = self.memory.cursor < before or self.memory.remaining_pages == 0
            self.multifd.count(sent, circle_ended=wrapped)
            self.counters.remaining_bytes = self.remaining_bytes
        else:
            self._count_sent(sent)
        self.counters.ram_stream += ITERATE_BYTES
        self.counters.other_stream += SECTION_BYTES

    def _count_sent(self, sent: Sent) -> None:
        c = self.counters
        c.ram_stream += sent.stream_bytes
        self._count_pages(sent.normal, sent.zero)
        c.remaining_bytes = self.remaining_bytes

    def _count_pages(self, raw: float, zero: float) -> None:
        whole, _ = counted_pages(raw, zero, self.zero_pages)
        self.counters.normal += whole
        self.counters.duplicate += raw + zero - whole

    def _close_window(self) -> None:
        """End a window: estimate the bandwidth, the threshold and the expected downtime from it."""
        c = self.counters
        estimate = thread.close_window(
            self.window_used,
            c.target_pages - self.window_pages,
            self.env.now - self.window_start,
            downtime_limit_ms=self.limit_ms,
            expected_bytes=thread.expected_bytes(
                self.dirty_after_sync, c.dirty_pages_rate, self.behaviour.expected_from_rate
            ),
            dirty_pages_rate=c.dirty_pages_rate,
            avail_switchover_bandwidth=self.switchover_bytes_per_s,
        )
        self.threshold = estimate.threshold_bytes
        c.mbps, c.pages_per_second = estimate.mbps, estimate.pages_per_second
        if estimate.expected_downtime_ms is not None:
            c.expected_downtime_ms = estimate.expected_downtime_ms
        if self.multifd is not None:
            self.multifd.close_window(self.env.now, self.env.now - self.window_start)
        self.last_window_pages = c.target_pages - self.window_pages
        self.window_start, self.window_pages = self.env.now, c.target_pages
        self.window_stream = c.ram_stream + c.other_stream
        self.recorder.sample(self.env.now, self.threshold, self._guest_s())

    def _repeat_window(self) -> Steps:
        """Simulate the windows that will be as the last one was in one event."""
        memory, before = self.memory, self.mark
        if not isinstance(memory, GuestMemory) or not self._windows_are_alike():
            return
        if memory.remaining_pages < 3 * self.last_window_pages:  # too few windows to gain from it
            self.mark = None
            return
        self.mark = Mark.of(self.counters, self.env.now, *memory.alike_ahead())
        window = before.until(self.mark) if before else None
        if window is None:
            return
        tick = self.throttle.next_tick if isinstance(self.throttle, Throttle) else inf
        times = window.repeated(
            alike_pages=self.mark.alike_pages,
            spare_bytes=self.remaining_bytes - self.threshold,
            spare_s=min(self.migration.deadline_s, tick) - self.env.now,
        )
        if not times:
            return
        begun = self.recorder.begin_repeating(self.env.now, self._guest_s())
        yield self.env.timeout(times * window.seconds)
        memory.send_alike(times, window.pages, window.seconds, begun.now, self.costs)
        window.count(self.counters, times)
        self.window_start, self.window_pages = self.env.now, self.counters.target_pages
        self.window_stream = self.counters.ram_stream + self.counters.other_stream
        self.recorder.repeated(begun, window, times, self._guest_s())
        left = self.mark.alike_pages - times * window.pages
        self.mark = Mark.of(self.counters, self.env.now, self.mark.kind, left)

    def _windows_are_alike(self) -> bool:
        """Whether windows differ by the pages to be sent alone, and nothing is decided at their ends."""
        limited = isinstance(self.throttle, DirtyLimit) and self.throttle.state is not None
        judged = self.throttle is not None and bool(self.tests)
        return self.multifd is None and not (self.xbzrle_active or limited or judged) and self.clock.steady

    def _complete(self) -> Steps:
        """Stop the guest, sync once more, and send the pages left (without rate limit) and the device state."""
        yield self.env.timeout(self.terms["switch_gap_s"])
        stop_s = self.terms["stop_s"] + self._asleep_s()
        new = self._sync_memory(self.env.now + stop_s)
        self._count_sync(self.env.now + stop_s, self._sync_seconds(), new)
        left = self.memory.remaining_by_kind()
        raw, zero = left.again + left.first + left.fresh, left.zero
        encoded = self.memory.encode_left(self.env.now)
        if encoded is not None:
            left = replace(left, again=encoded.raw, first=0.0, fresh=0.0)
        parts: Blackout = blackout(
            left,
            sync_s=self._sync_seconds(),
            stop_s=stop_s,
            normal_page_s=self.burst.normal_page_s,
            cold_page_s=self.burst.cold_page_s,
            fresh_page_s=self.burst.fresh_page_s,
            zero_page_s=self.burst.zero_page_s,
            device_state_s=self.terms["device_state_s"],
            load_s=self.terms["load_s"],
            encoding_s=encoded.extra_s if encoded else 0.0,
            return_path=self.migration.has_capability("return-path"),
        )
        yield self.env.timeout(parts.downtime_s)
        c = self.counters
        main_before = c.ram_stream - c.multifd_stream
        if self.multifd is not None:
            self.multifd.complete(raw, zero)
        elif encoded is not None:
            self._count_left(encoded.raw, zero, encoded.stream_bytes)
        else:
            self._count_left(raw, zero, raw * NORMAL_PAGE_BYTES)
        c.other_stream += self.terms["device_state_bytes"]
        c.downtime_stream += c.ram_stream - c.multifd_stream - main_before
        c.remaining_bytes = 0.0
        self.recorder.complete(self.env.now, parts, raw + zero)
        runs_on = self.env.now - parts.waited_s + parts.load_s
        self.recorder.guest_lost_s = runs_on - (self.memory.guest_s - self.guest_began_s)

    def _count_left(self, raw: float, zero: float, raw_bytes: float) -> None:
        """Count the pages that the main channel sends in the blackout; the raw ones take `raw_bytes`."""
        whole, _ = counted_pages(0.0, zero, self.zero_pages)
        self.counters.ram_stream += raw_bytes + ram_bytes_of(whole, zero - whole)
        self._count_pages(raw, zero)

    def _guest_s(self) -> float:
        """Seconds of work that the guest has done since the QMP command."""
        if isinstance(self.throttle, DirtyLimit):
            self.throttle.advance(self.env.now)
        return self.memory.guest_now_s(self.env.now) - self.guest_began_s

    def _stands_still(self) -> bool:
        """Whether the last exact tests show a standstill: see `migsim.engine.standstill`."""
        rounds = steady_rounds(self.memory.xbzrle is not None)
        if len(self.tests) < rounds or not self.threshold:
            return False
        tested = len(self.tests), self.threshold
        if tested == self.no_standstill_at and not self.throttle:
            return False
        if self.throttle is not None and not self.throttle.settled(self.env.now):
            return False
        last = np.array(self.tests[-rounds:])
        times, many = deviations(self.memory.drawn), many_rounds(self.memory.drawn)
        steady = is_flat(_trend(last)) and far_above(
            float(last.min()), self._log_deviation(last), self.threshold, times
        )
        if not steady and len(self.tests) >= many:
            steady = is_flat(_trend(np.array(self.tests[-many:])))
        self.no_standstill_at = None if steady else tested
        return steady

    def _log_deviation(self, tests: Floats) -> float:
        """Deviation of the tests' logarithms; at least that of the guest's activity, where it is drawn."""
        least = hypot(*self.migration.workload.wandering) if self.memory.drawn else 0.0
        return max(float(np.log(np.maximum(tests, 1.0)).std()), least)


def _trend(tests: Floats) -> float:
    half = len(tests) // 2
    return trend(float(tests[:half].mean()), float(tests[half:].mean()))
