"""What the engine of the talk's two trees writes down: holds of the big lock, bytes, syncs; and the outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.history.big_lock import LockUse, lock_use
from migsim.models.dirty.log_start import StartFreeze
from migsim.results import MigrationResult, Outcome
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.history.inputs import TalkInput

__all__ = ["TalkOutcome", "TalkRecord"]

PEAK_WINDOW_S = 1.0


@dataclass(frozen=True)
class TalkOutcome:
    """One simulated migration of 2012.

    Attributes
    ----------
    result : MigrationResult
        Kind "simulated"; `info` has the fields of QEMU 1.3, `downtime_parts_ms` sums to the downtime.
    lock : LockUse
        Holds of the big lock from the command to the vCPUs' stop.
    freeze : StartFreeze
        The first of those holds, in its parts.
    peak_bytes_per_s : float
        Stream bytes a second in the best second before the guest stopped (in all of it, where it is shorter).
    staged_bytes : float
        The most that lay in the staging buffer.
    """

    result: MigrationResult
    lock: LockUse
    freeze: StartFreeze
    peak_bytes_per_s: float
    staged_bytes: float

    @property
    def bytes_per_s(self) -> float:
        """Stream bytes a second over the run without its setup."""
        busy_s = (self.result.total_time_ms - self.freeze.total_s * 1000) / 1000
        return self.result.transferred_bytes / busy_s if busy_s > 0 else 0.0

    @property
    def sync_share(self) -> float:
        """Share of the final sync in the downtime."""
        parts = self.result.downtime_parts_ms
        whole = sum(parts.values())
        return parts["sync"] / whole if whole else 0.0


@dataclass
class TalkRecord:
    """Filled by the engine while it runs; times in seconds since the command."""

    holds_s: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=lambda: [0.0])
    sent_bytes: list[float] = field(default_factory=lambda: [0.0])
    remaining_bytes: list[float] = field(default_factory=lambda: [0.0])
    syncs: list[dict[str, float]] = field(default_factory=list)
    staged_bytes: float = 0.0
    normal: float = 0.0
    duplicate: float = 0.0
    stopped_s: float | None = None

    def note(self, now: float, sent_bytes: float, remaining_bytes: float) -> None:
        """Note how far it has come."""
        self.at_s.append(now)
        self.sent_bytes.append(sent_bytes)
        self.remaining_bytes.append(remaining_bytes)

    def sync(self, begun: float, length: float, new_pages: float, remaining_bytes: float) -> None:
        """Note a sync: one row of `iterations` begins."""
        self.syncs.append(
            {
                "dirty_sync_count": len(self.syncs) + 1,
                "start_s": begun,
                "sync_s": length,
                "dirty_pages": new_pages,
                "remaining_bytes_after_sync": remaining_bytes,
                "_sent": self.sent_bytes[-1],
                "_normal": self.normal,
                "_duplicate": self.duplicate,
            }
        )

    def peak_bytes_per_s(self) -> float:
        """Stream bytes in the best second before the guest stopped."""
        end = self.at_s[-1] if self.stopped_s is None else self.stopped_s
        if end <= PEAK_WINDOW_S:
            return float(np.interp(end, self.at_s, self.sent_bytes)) / end if end else 0.0
        grid = np.arange(0.0, end, PEAK_WINDOW_S / 10)
        sent = np.interp(grid, self.at_s, self.sent_bytes)
        return float(np.max(sent[10:] - sent[:-10])) / PEAK_WINDOW_S if len(grid) > 10 else 0.0

    def outcome(
        self, what: TalkInput, now: float, freeze: StartFreeze, parts_ms: dict[str, float]
    ) -> TalkOutcome:
        """Make the outcome."""
        done = self.stopped_s is not None
        return TalkOutcome(
            result=MigrationResult(
                kind="simulated",
                name=what.name or what.design,
                qemu_version=what.version,
                accel="kvm",
                outcome=Outcome(
                    "completed" if done else "not-converged",
                    "" if done else f"It was not done after {now:.0f} s.",
                ),
                info=self._info(what, now, freeze, parts_ms, done),
                iterations=self._iterations(now),
                timeline=self._timeline(),
                downtime_parts_ms=parts_ms,
                scenario={
                    "design": what.design,
                    "parameters": {
                        "max-bandwidth": what.max_bandwidth,
                        "downtime-limit": what.downtime_limit_ms,
                    },
                },
            ),
            lock=lock_use(self.holds_s, self.stopped_s if self.stopped_s is not None else now),
            freeze=freeze,
            peak_bytes_per_s=self.peak_bytes_per_s(),
            staged_bytes=self.staged_bytes,
        )

    def _info(
        self, what: TalkInput, now: float, freeze: StartFreeze, parts_ms: dict[str, float], done: bool
    ) -> dict[str, Any]:
        info: dict[str, Any] = {
            "status": "completed" if done else "active",
            "total-time": int(now * 1000),
            "ram": {
                "total": what.workload.ram_total_bytes,
                "transferred": round(self.sent_bytes[-1]),
                "remaining": round(self.remaining_bytes[-1]),
                "duplicate": round(self.duplicate),
                "normal": round(self.normal),
                "normal-bytes": round(self.normal) * PAGE_BYTES,
            },
        }
        if done:
            info["downtime"] = round(sum(parts_ms.values()))
        return info

    def _iterations(self, end: float) -> Any:
        from migsim.results import iterations_frame

        last = {
            "start_s": end,
            "_sent": self.sent_bytes[-1],
            "_normal": self.normal,
            "_duplicate": self.duplicate,
        }
        return iterations_frame(
            {
                **{key: value for key, value in row.items() if not key.startswith("_")},
                "end_s": after["start_s"],
                "transferred_bytes": after["_sent"] - row["_sent"],
                "normal": after["_normal"] - row["_normal"],
                "duplicate": after["_duplicate"] - row["_duplicate"],
            }
            for row, after in zip(self.syncs, [*self.syncs[1:], last], strict=True)
        )

    def _timeline(self) -> Any:
        from migsim.results import timeline_frame

        rows = zip(self.at_s[1:], self.sent_bytes[1:], self.remaining_bytes[1:], strict=True)
        return timeline_frame(
            [
                (at, {"status": "active", "ram": {"transferred": round(sent), "remaining": round(left)}})
                for at, sent, left in rows
            ]
        )
