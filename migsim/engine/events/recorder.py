"""What an engine writes down while a migration runs, and the result made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, cast

from migsim.engine.events.guest_clock import GuestClock
from migsim.engine.inputs import SimulationInput
from migsim.engine.like_windows import Window
from migsim.models.guest.speed import GuestMark, SpeedPiece, Why, speed_pieces
from migsim.models.loop.behaviour import Behaviour
from migsim.models.loop.query_migrate import Counters, migration_info
from migsim.models.loop.switchover import Blackout
from migsim.results import MigrationResult, Outcome, later
from migsim.units import PAGE_BYTES

__all__ = ["Recorder", "completed_reason", "standing_reason"]

_XBZRLE = ("pages", "cache_miss", "overflow", "bytes")


@dataclass(slots=True)
class Repeated:
    """Windows that are alike: when they begin, what each does, how many there are, the guest's work until they end."""

    now: float
    guest_s: float
    counters: Counters
    window: Window = field(default_factory=lambda: Window(0.0, 0.0, 0.0, 0.0, 0.0))
    times: int = 0
    guest_until_s: float = 0.0

    def samples(self, behaviour: Behaviour) -> list[dict[str, Any]]:
        """Make the sample of each window's end."""
        made = []
        for k in range(1, self.times + 1):
            counters, t_s = _copy(self.counters), self.now + k * self.window.seconds
            self.window.count(counters, k)
            info = migration_info(counters, behaviour, status="active", total_s=t_s)
            guest_s = self.guest_s + (self.guest_until_s - self.guest_s) * k / self.times
            made.append({"t_s": t_s, "info": info, "guest_s": guest_s})
        return made


def _copy(counters: Counters) -> Counters:
    return replace(counters, xbzrle=replace(counters.xbzrle) if counters.xbzrle else None)


class Recorder:
    """Syncs, samples and the end of one simulated migration."""

    def __init__(self, counters: Counters, behaviour: Behaviour) -> None:
        self.counters = counters
        self.behaviour = behaviour
        self.syncs: list[dict[str, float]] = []
        self.samples: list[dict[str, Any] | Repeated] = []
        self.status = "active"
        self.reason = ""
        self.ended_s = 0.0
        self.parts: Blackout | None = None
        self.guest_lost_s = 0.0
        self.guest_marks: list[GuestMark] = []
        self.setup_began_s = 0.0
        self.standstill: tuple[float, float] | None = (
            None  # when the mean of the last rounds begins, and its speed
        )

    def sync(self, begun: float, length: float, new_pages: float, remaining_bytes: float) -> None:
        """Note a bitmap sync: one row of `iterations` begins."""
        self.syncs.append(
            {
                "dirty_sync_count": float(self.counters.dirty_sync_count),
                "start_s": begun,
                "sync_s": length,
                "dirty_pages": new_pages,
                "remaining_bytes_after_sync": remaining_bytes,
                "stream_at_start": self.counters.transferred(self.behaviour),
                "normal_at_start": self.counters.normal,
                "duplicate_at_start": self.counters.duplicate,
                **self._xbzrle_at_start(),
                "guest_lost_s_at_start": self.guest_lost_s,
                "ram_stream_at_start": self.counters.ram_stream,
                "other_stream_at_start": self.counters.other_stream,
                "multifd_stream_at_start": self.counters.multifd_stream,
                "dirty_pages_rate": self.counters.dirty_pages_rate,
                "mbps": self.counters.mbps,
            }
        )

    def _xbzrle_at_start(self) -> dict[str, float]:
        counters = self.counters.xbzrle
        return {f"xbzrle_{name}_at_start": getattr(counters, name) if counters else 0.0 for name in _XBZRLE}

    def sample(self, now: float, threshold_bytes: float, guest_s: float) -> None:
        """Note `query-migrate` as it reads now, and how long the guest has worked."""
        info = migration_info(self.counters, self.behaviour, status="active", total_s=now)
        self.samples.append(
            {"t_s": now, "info": info, "threshold_bytes": threshold_bytes, "guest_s": guest_s}
        )

    def begin_repeating(self, now: float, guest_s: float) -> Repeated:
        """Note where windows that are alike begin."""
        return Repeated(now, guest_s, _copy(self.counters))

    def repeated(self, begun: Repeated, window: Window, times: int, guest_s: float) -> None:
        """Note windows that were alike, the last one ending now: their samples are made when somebody looks."""
        begun.window, begun.times, begun.guest_until_s = window, times, guest_s
        self.samples.append(begun)

    def complete(self, now: float, parts: Blackout, pages: float) -> None:
        """Note the end of a migration that converged."""
        self.status, self.ended_s, self.parts = "completed", now, parts
        self.reason = completed_reason(pages, parts.flush_s)

    def give_up(
        self, now: float, deadline_s: float, threshold_bytes: float, tests: list[float], steady: bool
    ) -> None:
        """Note that it does not converge, and say why from the last rounds.

        Where it stands still, the counters go on to the deadline at the last rounds' pace.
        """
        self.ended_s = now  # the status stays what it was before somebody cancels
        if steady and deadline_s > now:
            self._go_on(now, deadline_s)
        rounds = self.syncs[-9:]
        gap = (rounds[-1]["start_s"] - rounds[0]["start_s"]) / (len(rounds) - 1) if len(rounds) > 1 else now
        last, least = (tests[-1], min(tests[-8:])) if tests else (0.0, 0.0)
        self.reason = standing_reason(now, len(tests), gap, last, least, threshold_bytes, steady)

    def _go_on(self, now: float, deadline_s: float) -> None:
        c, first = self.counters, self.syncs[len(self.syncs) // 2]
        times = (deadline_s - now) / max(now - first["start_s"], 1e-9)
        c.dirty_sync_count += round(times * (c.dirty_sync_count - first["dirty_sync_count"]))
        normal = times * (c.normal - first["normal_at_start"])
        c.normal += normal
        lost = times * (self.guest_lost_s - first["guest_lost_s_at_start"])
        self.guest_lost_s += lost
        self.standstill = (now, 1 - lost / (deadline_s - now))
        if c.xbzrle is not None:
            for name in _XBZRLE:
                before = first[f"xbzrle_{name}_at_start"]
                setattr(c.xbzrle, name, getattr(c.xbzrle, name) * (1 + times) - times * before)
        c.ram_stream += times * (c.ram_stream - first["ram_stream_at_start"])
        c.other_stream += times * (c.other_stream - first["other_stream_at_start"])
        c.multifd_stream += times * (c.multifd_stream - first["multifd_stream_at_start"])
        self.ended_s = deadline_s

    def result(self, migration: SimulationInput, seed: int | None, clock: GuestClock) -> MigrationResult:
        """Make the result of what was noted."""
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
            outcome=Outcome("completed" if completed else "not-converged", self.reason),
            info=info,
            iterations=later(self._iterations),
            timeline=later(self._timeline),
            downtime_parts_ms=self.parts.parts_ms() if self.parts else {},
            costs={"guest-lost-s": self.guest_lost_s},
            guest_speed=later(partial(self._guest_speed, migration, clock)),
            blackout_ms=self.parts.blackout_s * 1000 if self.parts else float("nan"),
            scenario={
                "parameters": dict(migration.parameters),
                "capabilities": dict(migration.capabilities),
                "seed": seed,
                "deadline_s": migration.deadline_s,
            },
        )

    def _iterations(self) -> Any:
        from migsim.results import iterations_frame

        rows = []
        final = {
            "start_s": self.ended_s,
            "stream_at_start": self.counters.transferred(self.behaviour),
            "normal_at_start": self.counters.normal,
            "duplicate_at_start": self.counters.duplicate,
            **self._xbzrle_at_start(),
        }
        for row, after in zip(self.syncs, [*self.syncs[1:], final], strict=True):
            rows.append(
                {
                    "dirty_sync_count": int(row["dirty_sync_count"]),
                    "start_s": row["start_s"],
                    "end_s": after["start_s"],
                    "sync_s": row["sync_s"],
                    "dirty_pages": row["dirty_pages"],
                    "remaining_bytes_after_sync": row["remaining_bytes_after_sync"],
                    "transferred_bytes": after["stream_at_start"] - row["stream_at_start"],
                    "normal": after["normal_at_start"] - row["normal_at_start"],
                    "duplicate": after["duplicate_at_start"] - row["duplicate_at_start"],
                    "xbzrle_pages": after["xbzrle_pages_at_start"] - row["xbzrle_pages_at_start"],
                    "cache_misses": after["xbzrle_cache_miss_at_start"] - row["xbzrle_cache_miss_at_start"],
                    "dirty_pages_rate": row["dirty_pages_rate"],
                    "mbps": row["mbps"],
                }
            )
        return iterations_frame(rows)

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
            runs_on_s = self.ended_s + self.parts.load_s
            pieces.append(SpeedPiece(pieces[-1].until_s, runs_on_s, 0.0, 0.0, "blackout"))
        elif self.standstill:
            speed = self.standstill[1]
            pieces.append(SpeedPiece(ends_s, self.ended_s, speed, speed, "standstill"))
        return guest_speed_frame(asdict(piece) for piece in pieces)

    def _timeline(self) -> Any:
        from migsim.results import timeline_frame

        samples: list[dict[str, Any]] = []
        for one in self.samples:
            samples += one.samples(self.behaviour) if isinstance(one, Repeated) else [one]
        frame = timeline_frame([(s["t_s"], s["info"]) for s in samples])
        return frame.assign(guest_s=[s["guest_s"] for s in samples])


def completed_reason(pages: float, flush_s: float) -> str:
    """Say how a migration converged: pages left when the guest stopped, and how long they took."""
    return f"{pages * PAGE_BYTES / 1e6:.1f} MB were left when the guest stopped, sent in {flush_s * 1000:.0f} ms."


def standing_reason(
    now: float, tests: int, gap_s: float, last: float, least: float, threshold: float, steady: bool
) -> str:
    """Say why a migration does not converge.

    Parameters
    ----------
    now, gap_s : float
        When it was given up; mean time between its last syncs.
    tests : int
        Exact tests that it made.
    last, least, threshold : float
        Bytes that the last test found dirty, the least of the last eight, and the switchover threshold.
    steady : bool
        Whether it would go on like that.
    """
    if not tests:
        return f"The first pass over RAM was not done after {now:.0f} s."
    rate = last / max(gap_s, 1e-9)
    ending = "and stays so" if steady else f"until the deadline of {now:.0f} s"
    return (
        f"Each {gap_s:.2g} s round leaves {least / 1e6:.1f} MB or more dirty "
        f"(dirty rate over a {gap_s:.2g} s round, {rate / 1e6:.0f} MB/s), above the switchover threshold of "
        f"{threshold / 1e6:.1f} MB, {ending}."
    )
