"""What the event engine notes while a migration runs, and the `MigrationResult` made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, cast

from migsim.engine.ending import LAST_SYNCS, LAST_TESTS, carried_on, completed_reason, standing_reason
from migsim.engine.events.repeated_windows import Window
from migsim.engine.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.rounds import SyncRow, iterations_of
from migsim.models.guest.speed import GuestMark, SpeedPiece, Why, speed_pieces
from migsim.models.loop.behaviour import Behaviour
from migsim.models.loop.query_migrate import Counters, migration_info
from migsim.models.loop.switchover import Blackout
from migsim.results import MigrationResult, Outcome, lazy_table
from migsim.units import PAGE_BYTES

__all__ = ["Recorder"]


@dataclass(slots=True)
class RepeatedWindows:
    """Windows that are alike: when they begin, the counters by then, one window, how many, the guest's work by then."""

    now: float
    guest_s: float
    counters: Counters
    window: Window = field(default_factory=lambda: Window(0.0, 0.0, 0.0, 0.0, 0.0))
    times: int = 0
    guest_until_s: float = 0.0

    def samples(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Make the sample at the end of each window."""
        samples = []
        for k in range(1, self.times + 1):
            counters, t_s = _copy(self.counters), self.now + k * self.window.seconds
            self.window.count(counters, k)
            info = migration_info(counters, behaviour, status="active", total_s=t_s)
            guest_s = self.guest_s + (self.guest_until_s - self.guest_s) * k / self.times
            samples.append({"t_s": t_s, "info": info, "guest_s": guest_s})
        return samples


def _copy(counters: Counters) -> Counters:
    return replace(counters, xbzrle=replace(counters.xbzrle) if counters.xbzrle else None)


class Recorder:
    """Syncs, samples and the end of one simulated migration."""

    def __init__(self, counters: Counters, behaviour: Behaviour) -> None:
        self.counters = counters
        self.behaviour = behaviour
        self.syncs: list[SyncRow] = []
        self.samples: list[dict[str, Any] | RepeatedWindows] = []
        self.status = "active"
        self.reason = ""
        self.left_bytes: int | None = None
        self.ended_s = 0.0
        self.parts: Blackout | None = None
        self.guest_lost_s = 0.0
        self.guest_marks: list[GuestMark] = []
        self.setup_began_s = 0.0
        # Where a standstill is no longer simulated: from when on, and the guest's mean speed until the deadline.
        self.standstill: tuple[float, float] | None = None

    def sync(self, begun_s: float, length_s: float, dirty_pages: float, remaining_bytes: float) -> None:
        """Note a bitmap sync, with which a row of `iterations` begins."""
        self.syncs.append(self._row(begun_s, length_s, dirty_pages, remaining_bytes))

    def _row(self, begun_s: float, length_s: float, dirty_pages: float, remaining_bytes: float) -> SyncRow:
        c = self.counters
        row = SyncRow(
            c.dirty_sync_count,
            begun_s,
            length_s,
            dirty_pages,
            remaining_bytes,
            c.dirty_pages_rate,
            c.mbps,
            self.guest_lost_s,
            c.normal,
            c.duplicate,
            c.ram_stream,
            c.other_stream,
            c.multifd_stream,
        )
        if c.xbzrle is not None:
            row.xbzrle_pages, row.cache_miss = c.xbzrle.pages, c.xbzrle.cache_miss
            row.xbzrle_overflow, row.xbzrle_bytes = c.xbzrle.overflow, c.xbzrle.bytes
        return row

    def sample(self, now: float, threshold_bytes: float, guest_s: float) -> None:
        """Note `query-migrate` as it reads now, and how long the guest has worked."""
        info = migration_info(self.counters, self.behaviour, status="active", total_s=now)
        self.samples.append(
            {"t_s": now, "info": info, "threshold_bytes": threshold_bytes, "guest_s": guest_s}
        )

    def begin_repeating(self, now: float, guest_s: float) -> RepeatedWindows:
        """Note where windows that are alike begin."""
        return RepeatedWindows(now, guest_s, _copy(self.counters))

    def repeated(self, begun: RepeatedWindows, window: Window, times: int, guest_s: float) -> None:
        """Note windows that were alike, the last one ending now; their samples are made on first access."""
        begun.window, begun.times, begun.guest_until_s = window, times, guest_s
        self.samples.append(begun)

    def complete(self, now: float, parts: Blackout, pages: float) -> None:
        """Note the end of a migration that converged."""
        self.status, self.ended_s, self.parts = "completed", now, parts
        self.reason = completed_reason(pages, parts.flush_s)
        self.left_bytes = round(pages * PAGE_BYTES)

    def give_up(
        self, now: float, deadline_s: float, threshold_bytes: float, tests: list[float], steady: bool
    ) -> None:
        """Note that the migration does not converge; one that stands still is carried on to the deadline."""
        self.ended_s = now  # the status stays "active", as QEMU shows it until somebody cancels
        if steady and deadline_s > now:
            self._carry_on(now, deadline_s)
        last_syncs = self.syncs[-LAST_SYNCS:]
        gap_s, rate = now, 0.0
        if len(last_syncs) > 1:
            span_s = last_syncs[-1].begun_s - last_syncs[0].begun_s
            gap_s = span_s / (len(last_syncs) - 1)
            rate = sum(sync.dirty_pages for sync in last_syncs[1:]) * PAGE_BYTES / max(span_s, 1e-9)
        least = min(tests[-LAST_TESTS:], default=0.0)
        self.reason = standing_reason(now, len(tests), gap_s, rate, least, threshold_bytes, steady)

    def _carry_on(self, now: float, deadline_s: float) -> None:
        c, middle = self.counters, self.syncs[len(self.syncs) // 2]
        times = (deadline_s - now) / max(now - middle.begun_s, 1e-9)
        c.dirty_sync_count += round(times * (c.dirty_sync_count - middle.count))
        c.normal = carried_on(c.normal, middle.normal, times)
        c.ram_stream = carried_on(c.ram_stream, middle.ram_stream, times)
        c.other_stream = carried_on(c.other_stream, middle.other_stream, times)
        c.multifd_stream = carried_on(c.multifd_stream, middle.multifd_stream, times)
        if c.xbzrle is not None:
            c.xbzrle.pages = carried_on(c.xbzrle.pages, middle.xbzrle_pages, times)
            c.xbzrle.cache_miss = carried_on(c.xbzrle.cache_miss, middle.cache_miss, times)
            c.xbzrle.overflow = carried_on(c.xbzrle.overflow, middle.xbzrle_overflow, times)
            c.xbzrle.bytes = carried_on(c.xbzrle.bytes, middle.xbzrle_bytes, times)
        lost_s = self.guest_lost_s
        self.guest_lost_s = carried_on(lost_s, middle.guest_lost_s, times)
        self.standstill = (now, 1 - (self.guest_lost_s - lost_s) / (deadline_s - now))
        self.ended_s = deadline_s

    def result(self, migration: SimulationInput, seed: int | None, clock: GuestClock) -> MigrationResult:
        """Make the result from what was noted."""
        downtime = self.parts.downtime_s if self.parts else None
        info = migration_info(
            self.counters, self.behaviour, status=self.status, total_s=self.ended_s, downtime_s=downtime
        )
        completed = self.status == "completed"
        return MigrationResult(
            kind="simulated",
            name=migration.name,
            qemu_version=str(migration.version),
            accel=migration.accel,
            outcome=Outcome("completed" if completed else "not-converged", self.reason, self.left_bytes),
            info=info,
            iterations=lazy_table(self._iterations),
            timeline=lazy_table(self._timeline),
            downtime_parts_ms=self.parts.parts_ms() if self.parts else {},
            costs={"guest-lost-s": self.guest_lost_s},
            guest_speed=lazy_table(partial(self._guest_speed, migration, clock)),
            blackout_ms=self.parts.blackout_s * 1000 if self.parts else float("nan"),
            scenario={
                "parameters": dict(migration.parameters),
                "capabilities": dict(migration.capabilities),
                "seed": seed,
                "deadline_s": migration.deadline_s,
            },
        )

    def _iterations(self) -> Any:
        return iterations_of(self.syncs, self._row(self.ended_s, 0.0, 0.0, 0.0), self.behaviour)

    def _guest_speed(self, migration: SimulationInput, clock: GuestClock) -> Any:
        """Speed over time, until the guest runs on at the destination or the migration is given up."""
        from migsim.results import guest_speed_frame

        ends_s = self.standstill[0] if self.standstill else self.ended_s
        slowed_by: Why = "processors"
        for capability, why in (("dirty-limit", "dirty-limit"), ("auto-converge", "throttle")):
            if migration.has_capability(capability):
                slowed_by = cast("Why", why)
        pieces = speed_pieces(
            clock.steps,
            self.guest_marks,
            self.guest_marks[-1].t_s if self.parts else ends_s,
            load=clock.load,
            setup_s=(self.setup_began_s, self.guest_marks[0].t_s),
            slowed_by=slowed_by,
        )
        if self.parts:
            runs_on_s = self.ended_s - self.parts.waited_s + self.parts.load_s
            pieces.append(SpeedPiece(pieces[-1].until_s, runs_on_s, 0.0, 0.0, "blackout"))
        elif self.standstill:
            speed = self.standstill[1]
            pieces.append(SpeedPiece(ends_s, self.ended_s, speed, speed, "standstill"))
        return guest_speed_frame(asdict(piece) for piece in pieces)

    def _timeline(self) -> Any:
        from migsim.results import timeline_frame

        samples: list[dict[str, Any]] = []
        for sample in self.samples:
            if isinstance(sample, RepeatedWindows):
                samples += sample.samples(self.behaviour)
            else:
                samples.append(sample)
        frame = timeline_frame([(s["t_s"], s["info"]) for s in samples])
        return frame.assign(guest_s=[s["guest_s"] for s in samples])
