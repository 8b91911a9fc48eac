"""The two trees of the talk's chart as SimPy processes: main loop (1.2, 1.3) and migration thread (October 2012).

An event is a timer tick, a produce step, a flush, a sync or a part of the final stage; never a page. The laws are in
`migsim.models`: `iothread` and `thread_branch` (who does what when), `copies` (cost of a page), `bitmap_sync`,
`log_start`, `big_lock`.

Mirrors: `buffered_file.c`, `migration.c`, `arch_init.c` of 1.2.50 and of the thread branch, October 2012.
Leaves out: XBZRLE, block migration, whatever else the main loop and the host's cores are busy with.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from migsim.engine.events.memory import GuestMemory
from migsim.engine.sending import SendCosts, Sent
from migsim.history import iothread, thread_branch
from migsim.history.inputs import TREES, TalkInput
from migsim.history.record import TalkOutcome, TalkRecord
from migsim.history.socket_buffer import SocketBuffer
from migsim.models.dirty.log_start import log_stop_s
from migsim.models.dirty.sync import sync_parts
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, window_quota_bytes
from migsim.units import PAGE_BYTES

__all__ = ["TREES", "TalkInput", "TalkOutcome", "simulate_talk"]

Steps = Generator[simpy.Event, Any, Any]


def simulate_talk(what: TalkInput) -> TalkOutcome:
    """Simulate one migration.

    Raises
    ------
    ProfileError
        When the costs lack one.
    """
    environment = simpy.Environment()
    run = (_MainLoop if what.design == "iothread" else _Thread)(environment, what)
    environment.run(until=environment.process(run.migrate()))
    return run.record.outcome(what, environment.now, run.freeze, run.parts_ms)


class _Tree:
    """What both designs share."""

    def __init__(self, environment: simpy.Environment, what: TalkInput, normal_page_s: float) -> None:
        self.env = environment
        self.what = what
        self.costs = what.costs
        self.page = SendCosts(
            normal_page_s=normal_page_s,
            cold_page_s=normal_page_s,
            fresh_page_s=normal_page_s,
            zero_page_s=what.costs["uniform_page_s_per_page"],
        )
        self.memory = GuestMemory(what.workload, chunked=False, dirty_fault_s=what.costs["dirty_fault_s"])
        self.quota = window_quota_bytes(what.max_bandwidth)
        self.record = TalkRecord()
        self.freeze = what.freeze()
        self.socket = SocketBuffer(what.drain_bytes_per_s, what.socket_buffer_bytes)
        self.send_bytes_per_s = NORMAL_PAGE_BYTES / what.ceiling.parts_s["kernel"]
        self.parts_ms: dict[str, float] = {}
        self.sent = 0.0

    @property
    def remaining_bytes(self) -> float:
        return self.memory.remaining_pages * PAGE_BYTES

    def _hold(self, seconds: float) -> simpy.Event:
        """Let time pass with the big lock held."""
        self.record.holds_s.append(seconds)
        return self.env.timeout(seconds)

    def _set_up(self) -> Steps:
        yield self._hold(self.freeze.total_s)
        self.memory.start(self.env.now)
        if self.what.layout.migration_bitmap:
            length = self.freeze.sync.total_s
            self.record.sync(self.env.now - length, length, 0.0, self.remaining_bytes)
        self.record.note(self.env.now, 0.0, self.remaining_bytes)

    def _sync_now(self, at: float) -> float:
        """Publish what was written until `at`; returns how long the sync takes."""
        new = self.memory.sync(at)
        parts = sync_parts(self.what.layout, self.what.workload.ram_total_bytes, max(new, 0.0), self.costs)
        self.record.sync(at, parts.total_s, new, self.remaining_bytes)
        return parts.total_s

    def _produce(self, at: float, seconds: float, stream_bytes: float) -> Sent:
        done = self.memory.send(at, seconds, stream_bytes, self.page)
        self.record.normal += done.normal
        self.record.duplicate += done.zero
        return done

    def _complete(self, staged: float, beside: float = 0.0) -> Steps:
        """The final stage: guest stopped, big lock held.

        What is left is staged, then flushed; `beside`: bytes that the quota still lets go while it is staged.
        """
        stop = self.costs["stop_s"]
        self.record.stopped_s = self.env.now
        sync = self._sync_now(self.env.now + stop)
        at = self.env.now + stop + sync
        done = self._produce(at, float("inf"), float("inf"))
        produce = done.normal * self.what.ceiling.produce_s + done.zero * self.page.zero_page_s
        waits = staged + done.stream_bytes
        if (
            beside > 0
        ):  # the network goes on while pages are staged; the kernel's copies take their time all the same
            flush = max(
                waits / self.send_bytes_per_s,
                (waits - self.socket.room(at + produce)) / self.what.drain_bytes_per_s - produce,
            )
        else:
            flush = self.socket.block_s(waits, self.send_bytes_per_s, at + produce)
        most = staged + max(done.stream_bytes - beside, 0.0)
        self.record.staged_bytes = max(self.record.staged_bytes, most)
        parts = {
            "stop": stop,
            "sync": sync,
            "stage": produce,
            "flush": flush,
            "log-stop": log_stop_s(self.what.version, self.what.data_bytes, self.costs),
            "device": self.costs["device_state_s"],
        }
        self.parts_ms = {name: seconds * 1000 for name, seconds in parts.items()}
        yield self.env.timeout(sum(parts.values()))
        self.sent += waits
        self.record.note(self.env.now, self.sent, 0.0)

    def migrate(self) -> Steps:
        raise NotImplementedError


class _MainLoop(_Tree):
    """Timer ticks and the socket handler, everything under the big lock."""

    def __init__(self, environment: simpy.Environment, what: TalkInput) -> None:
        super().__init__(environment, what, what.ceiling.page_s)
        self.used = 0.0  # bytes of this tick

    def migrate(self) -> Steps:
        yield from self._set_up()
        due = self.env.now
        frozen = False
        while self.env.now < self.what.deadline_s:
            if self.env.now >= due:
                due, self.used = self.env.now + WINDOW_S, 0.0  # the timer's step; others are the handler's
            if self.used < self.quota:
                done, frozen = self._step()
                hold, finished = self._decide(done)
                yield self._hold(hold)
                self.record.note(self.env.now, self.sent, self.remaining_bytes)
                if finished:
                    yield from self._complete(0.0, self.quota - self.used)
                    return
            if frozen:
                due = yield from self._thaw(due)
                frozen = False
            else:
                yield self.env.timeout(max(due - self.env.now, 0.0))

    def _thaw(self, due: float) -> Steps:
        """Wait for the socket; ticks that come meanwhile do nothing. Returns when the next one comes."""
        yield self.env.timeout(self.socket.writable_after_s(self.env.now))
        while due <= self.env.now:
            due += WINDOW_S
        return due

    def _step(self) -> tuple[Sent, bool]:
        """One iterate call, writing to the socket as it goes; whether the socket refused data."""
        total, begun = Sent(), self.env.now
        while True:
            room = self.socket.room(begun + total.seconds)
            if room < iothread.STREAM_BUFFER_BYTES:
                return total, True
            left = self.quota - self.used
            done = self._produce(begun + total.seconds, ITERATE_MAX_S - total.seconds, min(room, left))
            self.socket.put(done.stream_bytes, begun + total.seconds)
            self.used += done.stream_bytes
            self.sent += done.stream_bytes
            total.seconds += done.seconds
            total.normal += done.normal
            total.zero += done.zero
            out_of_time = ITERATE_MAX_S - total.seconds < self.page.zero_page_s
            if out_of_time or self.used >= self.quota * (1 - 1e-12) or done.stream_bytes < ZERO_PAGE_BYTES:
                return total, False

    def _decide(self, done: Sent) -> tuple[float, bool]:
        """Test as iterate does, sync, test again; how long the big lock is held, and whether it is over."""
        seen = iothread.call_bandwidth(done.normal, done.zero, done.seconds)
        hold = done.seconds

        def within() -> bool:
            return iothread.may_finish(self.remaining_bytes, seen, self.what.downtime_limit_ms)

        if not within():
            return hold, False
        hold += self._sync_now(self.env.now + hold)
        return hold, within()


class _Thread(_Tree):
    """Produce under the big lock, flush without it."""

    def __init__(self, environment: simpy.Environment, what: TalkInput) -> None:
        super().__init__(environment, what, what.ceiling.produce_s)
        self.staged = 0.0
        self.threshold = 0.0

    def migrate(self) -> Steps:
        yield from self._set_up()
        begun, used = self.env.now, 0.0
        while self.env.now < self.what.deadline_s:
            hold, finished = self._step()
            yield self._hold(hold)
            if finished:
                yield from self._complete(self.staged)
                return
            flush = min(self.staged, self.quota - used)
            yield self.env.timeout(self.socket.block_s(flush, self.send_bytes_per_s, self.env.now))
            self.staged -= flush
            self.sent += flush
            used += flush
            if used >= self.quota:
                yield self.env.timeout(max(begun + WINDOW_S - self.env.now, 0.0))
            self.record.note(self.env.now, self.sent, self.remaining_bytes)
            if self.env.now >= begun + WINDOW_S - 1e-9:
                self.threshold = thread_branch.branch_threshold_bytes(
                    used, self.env.now - begun, self.what.downtime_limit_ms
                )
                begun, used = self.env.now, 0.0

    def _step(self) -> tuple[float, bool]:
        """Pending, maybe a sync, and either the end or an iterate call; how long the big lock is held."""
        hold = 0.0
        if self.remaining_bytes < self.threshold:
            hold = self._sync_now(self.env.now)
        if self.remaining_bytes == 0 or self.remaining_bytes < self.threshold:
            return hold, True
        done = self._produce(self.env.now + hold, ITERATE_MAX_S, float("inf"))
        self.staged += done.stream_bytes
        self.record.staged_bytes = max(self.record.staged_bytes, self.staged)
        return hold + done.seconds, False
