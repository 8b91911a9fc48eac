"""Two source trees of 2012 as SimPy processes: the main loop (1.2, 1.3) and the migration thread (October 2012).

An event is a timer tick, a produce step, a flush, a sync or a part of the final stage; never a page. The laws are in
`migsim.history.iothread` and `migsim.history.thread_branch` (order and length of the steps),
`migsim.models.loop.copies` (cost of a page), `migsim.models.dirty.sync` and `migsim.models.dirty.log_start`.

Mirrors: `buffered_file.c`, `migration.c`, `arch_init.c` of 1.2.50 and of the thread branch, October 2012.
Leaves out: XBZRLE, block migration, other work of the main loop and of the host's cores.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from migsim.engine.events.memory import GuestMemory
from migsim.engine.sending import SendCosts, Sent
from migsim.history import iothread, thread_branch
from migsim.history.inputs import TREES, TreeInput
from migsim.history.record import TreeOutcome, TreeRecorder
from migsim.history.socket_buffer import SocketBuffer
from migsim.models.dirty.log_start import log_stop_s
from migsim.models.dirty.sync import sync_parts
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, window_quota_bytes
from migsim.units import PAGE_BYTES

__all__ = ["TREES", "TreeInput", "TreeOutcome", "simulate_tree"]

Steps = Generator[simpy.Event, Any, Any]


def simulate_tree(migration: TreeInput) -> TreeOutcome:
    """Simulate one migration with the design that `migration` names.

    Raises
    ------
    ProfileError
        When a cost is missing.
    """
    environment = simpy.Environment()
    tree = (_MainLoop if migration.design == "iothread" else _Thread)(environment, migration)
    environment.run(until=environment.process(tree.migrate()))
    return tree.record.outcome(migration, environment.now, tree.freeze, tree.parts_ms)


class _Tree:
    """State and steps that both designs have in common."""

    def __init__(self, environment: simpy.Environment, migration: TreeInput, normal_page_s: float) -> None:
        self.env = environment
        self.migration = migration
        self.costs = migration.costs
        self.page_costs = SendCosts(
            normal_page_s=normal_page_s,
            cold_page_s=normal_page_s,
            fresh_page_s=normal_page_s,
            zero_page_s=migration.costs["uniform_page_s_per_page"],
        )
        self.memory = GuestMemory(
            migration.workload, chunked=False, dirty_fault_s=migration.costs["dirty_fault_s"]
        )
        self.quota = window_quota_bytes(migration.max_bandwidth)
        self.record = TreeRecorder()
        self.freeze = migration.freeze()
        self.socket = SocketBuffer(migration.drain_bytes_per_s, migration.socket_buffer_bytes)
        self.send_bytes_per_s = NORMAL_PAGE_BYTES / migration.ceiling.parts_s["kernel"]
        self.parts_ms: dict[str, float] = {}
        self.sent = 0.0

    @property
    def remaining_bytes(self) -> float:
        return self.memory.remaining_pages * PAGE_BYTES

    def _hold(self, seconds: float) -> simpy.Event:
        """Hold the big lock for some time."""
        self.record.holds_s.append(seconds)
        return self.env.timeout(seconds)

    def _set_up(self) -> Steps:
        yield self._hold(self.freeze.total_s)
        self.memory.start(self.env.now)
        if self.migration.layout.migration_bitmap:
            length = self.freeze.sync.total_s
            self.record.sync(self.env.now - length, length, 0.0, self.remaining_bytes)
        self.record.note(self.env.now, 0.0, self.remaining_bytes)

    def _sync_now(self, at: float) -> float:
        """Sync the bitmap at a time: pages written until then become dirty; return how long the sync takes."""
        new_pages = self.memory.sync(at)
        ram_bytes = self.migration.workload.ram_total_bytes
        parts = sync_parts(self.migration.layout, ram_bytes, max(new_pages, 0.0), self.costs)
        self.record.sync(at, parts.total_s, new_pages, self.remaining_bytes)
        return parts.total_s

    def _produce(self, at: float, seconds: float, stream_bytes: float) -> Sent:
        """Send pages for at most some seconds and bytes, and count them."""
        sent = self.memory.send(at, seconds, stream_bytes, self.page_costs)
        self.record.normal += sent.normal
        self.record.duplicate += sent.zero
        return sent

    def _complete(self, staged_bytes: float, quota_left_bytes: float = 0.0) -> Steps:
        """Run the final stage, with the guest stopped and the big lock held.

        All remaining pages are staged, then everything that is staged is flushed.

        Parameters
        ----------
        staged_bytes : float
            What the staging buffer holds already.
        quota_left_bytes : float
            What the quota still lets through to the socket while pages are staged.
        """
        stop_s = self.costs["stop_s"]
        self.record.stopped_s = self.env.now
        sync_s = self._sync_now(self.env.now + stop_s)
        at = self.env.now + stop_s + sync_s
        sent = self._produce(at, float("inf"), float("inf"))
        stage_s = sent.normal * self.migration.ceiling.produce_s + sent.zero * self.page_costs.zero_page_s
        flushed_bytes = staged_bytes + sent.stream_bytes
        if quota_left_bytes > 0:
            # the network drains while pages are staged, but the kernel's copies still take their time
            unsent_bytes = flushed_bytes - self.socket.room(at + stage_s)
            flush_s = max(
                flushed_bytes / self.send_bytes_per_s,
                unsent_bytes / self.migration.drain_bytes_per_s - stage_s,
            )
        else:
            flush_s = self.socket.block_s(flushed_bytes, self.send_bytes_per_s, at + stage_s)
        peak_bytes = staged_bytes + max(sent.stream_bytes - quota_left_bytes, 0.0)
        self.record.staged_bytes = max(self.record.staged_bytes, peak_bytes)
        parts = {
            "stop": stop_s,
            "sync": sync_s,
            "stage": stage_s,
            "flush": flush_s,
            "log-stop": log_stop_s(self.migration.version, self.migration.data_bytes, self.costs),
            "device": self.costs["device_state_s"],
        }
        self.parts_ms = {name: seconds * 1000 for name, seconds in parts.items()}
        yield self.env.timeout(sum(parts.values()))
        self.sent += flushed_bytes
        self.record.note(self.env.now, self.sent, 0.0)

    def migrate(self) -> Steps:
        """Run the migration, from its setup to its end or the deadline."""
        raise NotImplementedError


class _MainLoop(_Tree):
    """Migration in the main loop: timer ticks and the socket's handler, all under the big lock."""

    def __init__(self, environment: simpy.Environment, migration: TreeInput) -> None:
        super().__init__(environment, migration, migration.ceiling.page_s)
        self.used = 0.0  # bytes sent since the last tick

    def migrate(self) -> Steps:
        yield from self._set_up()
        due = self.env.now
        frozen = False  # whether the socket refused data
        while self.env.now < self.migration.deadline_s:
            if self.env.now >= due:
                # QEMU's timer resets the quota; steps in between are the socket handler's
                due, self.used = self.env.now + WINDOW_S, 0.0
            if self.used < self.quota:
                sent, frozen = self._step()
                hold_s, finished = self._decide(sent)
                yield self._hold(hold_s)
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
        """Wait until the socket is writable, and return when the next tick is due; ticks until then do nothing."""
        yield self.env.timeout(self.socket.writable_after_s(self.env.now))
        while due <= self.env.now:
            due += WINDOW_S
        return due

    def _step(self) -> tuple[Sent, bool]:
        """Make one iterate call that writes to the socket; return what it sent, and whether the socket refused data."""
        total, begin = Sent(), self.env.now
        while True:
            room = self.socket.room(begin + total.seconds)
            if room < iothread.STREAM_BUFFER_BYTES:
                return total, True
            most_bytes = min(room, self.quota - self.used)
            sent = self._produce(begin + total.seconds, ITERATE_MAX_S - total.seconds, most_bytes)
            self.socket.put(sent.stream_bytes, begin + total.seconds)
            self.used += sent.stream_bytes
            self.sent += sent.stream_bytes
            total.seconds += sent.seconds
            total.normal += sent.normal
            total.zero += sent.zero
            out_of_time = ITERATE_MAX_S - total.seconds < self.page_costs.zero_page_s
            out_of_quota = self.used >= self.quota * (1 - 1e-12)
            if out_of_time or out_of_quota or sent.stream_bytes < ZERO_PAGE_BYTES:
                return total, False

    def _decide(self, sent: Sent) -> tuple[float, bool]:
        """Test after an iterate call, sync, and test again, as `ram_save_iterate` does.

        Returns
        -------
        hold_s : float
            How long the big lock is held, the iterate call included.
        finished : bool
            Whether the final stage comes next.
        """
        bandwidth = iothread.call_bandwidth(sent.normal, sent.zero, sent.seconds)
        hold_s = sent.seconds

        def fits_limit() -> bool:
            return iothread.may_finish(self.remaining_bytes, bandwidth, self.migration.downtime_limit_ms)

        if not fits_limit():
            return hold_s, False
        hold_s += self._sync_now(self.env.now + hold_s)
        return hold_s, fits_limit()


class _Thread(_Tree):
    """Migration in a thread: produce with the big lock held, then flush without it."""

    def __init__(self, environment: simpy.Environment, migration: TreeInput) -> None:
        super().__init__(environment, migration, migration.ceiling.produce_s)
        self.staged = 0.0
        self.threshold = 0.0

    def migrate(self) -> Steps:
        yield from self._set_up()
        window_begin, used = self.env.now, 0.0
        while self.env.now < self.migration.deadline_s:
            hold_s, finished = self._step()
            yield self._hold(hold_s)
            if finished:
                yield from self._complete(self.staged)
                return
            flush = min(self.staged, self.quota - used)
            yield self.env.timeout(self.socket.block_s(flush, self.send_bytes_per_s, self.env.now))
            self.staged -= flush
            self.sent += flush
            used += flush
            if used >= self.quota:
                yield self.env.timeout(max(window_begin + WINDOW_S - self.env.now, 0.0))
            self.record.note(self.env.now, self.sent, self.remaining_bytes)
            if self.env.now >= window_begin + WINDOW_S - 1e-9:
                self.threshold = thread_branch.branch_threshold_bytes(
                    used, self.env.now - window_begin, self.migration.downtime_limit_ms
                )
                window_begin, used = self.env.now, 0.0

    def _step(self) -> tuple[float, bool]:
        """Ask for pending bytes, sync below the threshold, and make an iterate call unless the final stage is due.

        Returns
        -------
        hold_s : float
            How long the big lock is held.
        finished : bool
            Whether the final stage comes next.
        """
        hold_s = 0.0
        if self.remaining_bytes < self.threshold:
            hold_s = self._sync_now(self.env.now)
        if self.remaining_bytes == 0 or self.remaining_bytes < self.threshold:
            return hold_s, True
        sent = self._produce(self.env.now + hold_s, ITERATE_MAX_S, float("inf"))
        self.staged += sent.stream_bytes
        self.record.staged_bytes = max(self.record.staged_bytes, self.staged)
        return hold_s + sent.seconds, False
