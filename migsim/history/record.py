"""Recorder of a simulated migration of 2012 (holds of the big lock, bytes, syncs), and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.history.big_lock import LockUse, lock_use
from migsim.models.dirty.log_start import StartFreeze
from migsim.results import MigrationResult, Outcome
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.history.inputs import TreeInput

__all__ = ["TreeOutcome", "TreeRecorder"]

PEAK_WINDOW_S = 1.0
"""Throughput is highest over a window of this length."""


@dataclass(frozen=True)
class TreeOutcome:
    """One simulated migration of 2012.

    Attributes
    ----------
    result : MigrationResult
        Kind "simulated"; `info` has the fields of QEMU 1.3, `downtime_parts_ms` sums to the downtime.
    lock : LockUse
        Holds of the big lock, from QMP ``migrate`` until the vCPUs stop.
    freeze : StartFreeze
        The first of those holds, in its parts.
    peak_bytes_per_s : float
        Stream bytes a second, in the second before the guest's stop that carried most. Where less than a second
        passed before the stop, the mean of that time.
    staged_bytes : float
        Largest fill of the staging buffer.
    """

    result: MigrationResult
    lock: LockUse
    freeze: StartFreeze
    peak_bytes_per_s: float
    staged_bytes: float

    @property
    def bytes_per_s(self) -> float:
        """Mean stream bytes a second, the setup's time not counted."""
        sending_s = (self.result.total_time_ms - self.freeze.total_s * 1000) / 1000
        return self.result.transferred_bytes / sending_s if sending_s > 0 else 0.0

    @property
    def sync_share(self) -> float:
        """Share of the final sync in the downtime."""
        parts = self.result.downtime_parts_ms
        downtime_ms = sum(parts.values())
        return parts["sync"] / downtime_ms if downtime_ms else 0.0


@dataclass
class TreeRecorder:
    """Record of a migration while it is simulated; times are seconds since QMP ``migrate``."""

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
        """Note the bytes sent and the bytes remaining at a time."""
        self.at_s.append(now)
        self.sent_bytes.append(sent_bytes)
        self.remaining_bytes.append(remaining_bytes)

    def sync(self, start_s: float, sync_s: float, new_pages: float, remaining_bytes: float) -> None:
        """Note a bitmap sync: it begins a round, which is a row of `iterations`."""
        self.syncs.append(
            {
                "dirty_sync_count": len(self.syncs) + 1,
                "start_s": start_s,
                "sync_s": sync_s,
                "dirty_pages": new_pages,
                "remaining_bytes_after_sync": remaining_bytes,
                "_sent": self.sent_bytes[-1],
                "_normal": self.normal,
                "_duplicate": self.duplicate,
            }
        )

    def peak_bytes_per_s(self) -> float:
        """Compute the highest stream rate over a second before the guest stopped."""
        end = self.at_s[-1] if self.stopped_s is None else self.stopped_s
        if end <= PEAK_WINDOW_S:
            return float(np.interp(end, self.at_s, self.sent_bytes)) / end if end else 0.0
        grid_s = np.arange(0.0, end, PEAK_WINDOW_S / 10)
        sent = np.interp(grid_s, self.at_s, self.sent_bytes)
        return float(np.max(sent[10:] - sent[:-10])) / PEAK_WINDOW_S if len(grid_s) > 10 else 0.0

    def outcome(
        self, migration: TreeInput, now: float, freeze: StartFreeze, parts_ms: dict[str, float]
    ) -> TreeOutcome:
        """Build the outcome of a migration that ended at `now`."""
        completed = self.stopped_s is not None
        return TreeOutcome(
            result=MigrationResult(
                kind="simulated",
                name=migration.name or migration.design,
                qemu_version=migration.version,
                accel="kvm",
                outcome=Outcome(
                    "completed" if completed else "not-converged",
                    "" if completed else f"The migration was not complete after {now:.0f} s.",
                ),
                info=self._info(migration, now, parts_ms if completed else None),
                iterations=self._iterations(now),
                timeline=self._timeline(),
                downtime_parts_ms=parts_ms,
                scenario={
                    "design": migration.design,
                    "parameters": {
                        "max-bandwidth": migration.max_bandwidth,
                        "downtime-limit": migration.downtime_limit_ms,
                    },
                },
            ),
            lock=lock_use(self.holds_s, self.stopped_s if self.stopped_s is not None else now),
            freeze=freeze,
            peak_bytes_per_s=self.peak_bytes_per_s(),
            staged_bytes=self.staged_bytes,
        )

    def _info(self, migration: TreeInput, now: float, parts_ms: dict[str, float] | None) -> dict[str, Any]:
        """Build the answer to ``query-migrate``; `parts_ms` are those of the downtime, None before it."""
        info: dict[str, Any] = {
            "status": "active" if parts_ms is None else "completed",
            "total-time": int(now * 1000),
            "ram": {
                "total": migration.workload.ram_total_bytes,
                "transferred": round(self.sent_bytes[-1]),
                "remaining": round(self.remaining_bytes[-1]),
                "duplicate": round(self.duplicate),
                "normal": round(self.normal),
                "normal-bytes": round(self.normal) * PAGE_BYTES,
            },
        }
        if parts_ms is not None:
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
                "end_s": following["start_s"],
                "transferred_bytes": following["_sent"] - row["_sent"],
                "normal": following["_normal"] - row["_normal"],
                "duplicate": following["_duplicate"] - row["_duplicate"],
            }
            for row, following in zip(self.syncs, [*self.syncs[1:], last], strict=True)
        )

    def _timeline(self) -> Any:
        from migsim.results import timeline_frame

        rows = zip(self.at_s[1:], self.sent_bytes[1:], self.remaining_bytes[1:], strict=True)
        return timeline_frame(
            [
                (
                    t_s,
                    {"status": "active", "ram": {"transferred": round(sent), "remaining": round(remaining)}},
                )
                for t_s, sent, remaining in rows
            ]
        )
