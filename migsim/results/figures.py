"""The figures of a migration that people ask for: name, unit, meaning, and where QMP's `query-migrate` has it.

One table for predictions, sweeps, requirements, comparisons, tables and pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migsim.results.migration_result import MigrationResult

__all__ = ["BOUNDED", "COMPARED", "FIGURES", "INTERVALS", "Figure", "figures_of"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a migration.

    Attributes
    ----------
    unit : str
        ms, bytes, syncs or percent.
    meaning : str
        In a few words.
    qemu_field : tuple of str
        Its path in `query-migrate`'s answer; empty where QEMU does not report it.
    label : str
        How tables call it: QEMU's name where it has one.
    column : str
        Of `migsim.engine.batch.result.FIGURE_NAMES`.
    per_column : float
        The figure over the column's value: 1000 where the column is in seconds.
    has_interval : bool
        Whether a prediction gives an 80 % interval for it.
    compared : bool
        Whether predictions are compared with records by it.
    only_completed : bool
        Whether a migration that does not complete has none: its deadline is no time that it takes.
    """

    unit: str
    meaning: str
    qemu_field: tuple[str, ...]
    label: str
    column: str
    per_column: float = 1.0
    has_interval: bool = True
    compared: bool = False
    only_completed: bool = False


FIGURES: dict[str, Figure] = {
    "total-time": Figure(
        "ms",
        "from QMP migrate to the end of the migration",
        ("total-time",),
        "total-time",
        "total_time_ms",
        compared=True,
        only_completed=True,
    ),
    "downtime": Figure(
        "ms",
        "the guest stands still, as the source counts it",
        ("downtime",),
        "downtime",
        "downtime_ms",
        compared=True,
        only_completed=True,
    ),
    "transferred": Figure(
        "bytes",
        "bytes sent, by the release's own definition",
        ("ram", "transferred"),
        "ram.transferred",
        "transferred_bytes",
        compared=True,
        only_completed=True,
    ),
    "rounds": Figure(
        "syncs",
        "bitmap syncs",
        ("ram", "dirty-sync-count"),
        "ram.dirty-sync-count",
        "dirty_sync_count",
        compared=True,
        only_completed=True,
    ),
    "blackout": Figure(
        "ms",
        "from STOP on the source to RESUME on the destination",
        (),
        "guest stands still",
        "blackout_ms",
        only_completed=True,
    ),
    "guest-lost": Figure(
        "ms",
        "time in which the guest did no work",
        (),
        "guest loses in all",
        "guest_lost_s",
        1000.0,
        only_completed=True,
    ),
    "remaining": Figure(
        "bytes",
        "dirty memory that is left",
        ("ram", "remaining"),
        "ram.remaining",
        "remaining_bytes",
        has_interval=False,
    ),
    "cpu-throttle-percentage": Figure(
        "percent",
        "how far auto-converge throttles the vCPUs",
        ("cpu-throttle-percentage",),
        "cpu-throttle-percentage",
        "cpu_throttle_percentage",
        has_interval=False,
    ),
}
"""Every figure, by name."""

INTERVALS = tuple(name for name, figure in FIGURES.items() if figure.has_interval)
"""Names of the figures that a prediction gives an 80 % interval for."""
BOUNDED = INTERVALS
"""Names of the figures that a requirement can bound."""
COMPARED = tuple(name for name, figure in FIGURES.items() if figure.compared)
"""Names of the figures that predictions are compared with records by."""


def figures_of(result: MigrationResult) -> dict[str, float]:
    """Return `INTERVALS` of one simulated migration; NaN where it does not complete."""
    if result.outcome.status != "completed":
        return dict.fromkeys(INTERVALS, math.nan)
    beside = {"blackout": float(result.blackout_ms), "guest-lost": result.costs["guest-lost-s"] * 1000}
    return {
        name: beside[name] if name in beside else _field(result.info, FIGURES[name].qemu_field)
        for name in INTERVALS
    }


def _field(info: Mapping[str, Any], path: tuple[str, ...]) -> float:
    value: Any = info
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return math.nan if value is None else float(value)
