"""What a migration yields, simulated or measured, in one type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from migsim.errors import RecordError
from migsim.results.figures import COMPARED, FIGURES
from migsim.results.guest_speed import guest_speed_frame
from migsim.results.iterations import iterations_frame
from migsim.results.lazy import LazyTable
from migsim.results.render import result_html
from migsim.results.timeline import timeline_frame
from migsim.units import format_bytes, format_duration_s

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MigrationResult", "Outcome", "Status"]

Status = Literal["completed", "failed", "cancelled", "not-converged"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a migration ended.

    Attributes
    ----------
    status : {"completed", "failed", "cancelled", "not-converged"}
        Not converging is an outcome, never an error.
    reason : str
        Why, in a sentence.
    """

    status: Status
    reason: str = ""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise RecordError(
                f"The outcome is {self.status!r}.",
                f"An outcome is {', '.join(get_args(Status))}.",
                "Correct it.",
            )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MigrationResult:
    """A migration, simulated or real.

    Attributes
    ----------
    kind : {"measured", "simulated"}
        Which.
    name : str
        The scenario's; repeats share it.
    qemu_version, accel : str
        ``"10.0.2"``, ``"kvm"`` or ``"tcg"``.
    outcome : Outcome
        How it ended.
    info : dict
        The last ``query-migrate`` answer, in QAPI's names and units.
    iterations : pandas.DataFrame
        A row per ``dirty-sync-count``: see `migsim.results.iterations`.
    timeline : pandas.DataFrame
        ``query-migrate`` over time: ``t_s`` [s since QMP migrate] and flattened fields.
    events : list of dict
        QMP events: ``name``, ``seconds``, ``data``.
    downtime_parts_ms : dict of str to float
        What the downtime consists of; sums to it.
    blackout_ms : float
        From STOP on the source to RESUME on the destination; NaN where unknown.
    costs : dict of str to float
        What the migration costs the guest: ``guest-lost-s``, the time in which it did no work, throttling, full
        rings, log faults and the blackout together; empty where unknown.
    guest_speed : pandas.DataFrame
        A simulated guest's speed over time, until it runs on at the destination: see `migsim.results.guest_speed`.
    intervals : dict of str to (float, float)
        80 % interval of each figure of `migsim.results.figures.INTERVALS`, in its unit.
    scenario, provenance, guest_log, host_load
        What ran, who wrote it, the guest's serial lines, the host's load while it ran.
    """

    kind: Literal["measured", "simulated"]
    name: str
    qemu_version: str
    accel: str
    outcome: Outcome
    info: dict[str, Any] = field(default_factory=dict)
    iterations: pd.DataFrame = field(default_factory=iterations_frame)
    timeline: pd.DataFrame = field(default_factory=timeline_frame)
    events: list[dict[str, Any]] = field(default_factory=list)
    downtime_parts_ms: dict[str, float] = field(default_factory=dict)
    blackout_ms: float = math.nan
    costs: dict[str, float] = field(default_factory=dict)
    guest_speed: pd.DataFrame = field(default_factory=guest_speed_frame)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    guest_log: list[Any] = field(default_factory=list)
    host_load: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("measured", "simulated"):
            raise RecordError(
                f"The kind is {self.kind!r}.", "A result is measured or simulated.", "Correct it."
            )
        waiting = {name: value for name, value in self.__dict__.items() if isinstance(value, LazyTable)}
        for name in waiting:
            del self.__dict__[name]
        self.__dict__["_waiting"] = waiting

    if not TYPE_CHECKING:  # to the type checker every table is there

        def __getattr__(self, name: str) -> Any:
            """Make a table that was left for later."""
            waiting = self.__dict__.get("_waiting", {})
            if name not in waiting:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            made = self.__dict__[name] = waiting.pop(name).make()
            return made

    @property
    def total_time_ms(self) -> float:
        """``total-time``; NaN where the answer lacks it."""
        return self._number("total-time")

    @property
    def downtime_ms(self) -> float:
        """``downtime`` as the source counts it; NaN unless completed."""
        return self._number("downtime")

    @property
    def transferred_bytes(self) -> float:
        """``ram.transferred``, by the QEMU version's own definition."""
        return self._number("ram", "transferred")

    @property
    def rounds(self) -> float:
        """``ram.dirty-sync-count``; before 2.1, which lacks it, the rows of `iterations`."""
        counted = self._number("ram", "dirty-sync-count")
        if math.isnan(counted) and len(self.iterations):
            return float(len(self.iterations))
        return counted

    @property
    def verdict(self) -> Status:
        """The outcome's status."""
        return self.outcome.status

    def metrics(self) -> dict[str, float]:
        """Return the numbers that results are compared by: see `migsim.results.figures.COMPARED`."""
        measured = {"rounds": self.rounds}  # before 2.1, where QEMU does not count them
        return {name: measured.get(name, self._number(*FIGURES[name].qemu_field)) for name in COMPARED}

    def save(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all.

        Raises
        ------
        RecordError
            Where `info` is not what ``query-migrate`` answers.
        HostError
            Where the file cannot be written.
        """
        from migsim.results.record_file import write_record

        write_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        RecordError
            Where the file is missing, cut short, foreign, or of a newer migsim.
        """
        from migsim.results.record_file import read_record

        return cls(**read_record(path))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values; tables that wait wait in the copy too."""
        waiting = self.__dict__["_waiting"]
        kept = {name: waiting.get(name) or getattr(self, name) for name in type(self).__dataclass_fields__}
        return type(self)(**(kept | changes))

    def __repr__(self) -> str:
        parts = [f"{self.kind} {self.name!r} on QEMU {self.qemu_version} ({self.accel}): {self.verdict}"]
        if not math.isnan(self.total_time_ms):
            parts.append(f"total {format_duration_s(self.total_time_ms / 1000)}")
        if not math.isnan(self.downtime_ms):
            parts.append(f"downtime {format_duration_s(self.downtime_ms / 1000)}")
        if not math.isnan(self.transferred_bytes):
            parts.append(f"sent {format_bytes(self.transferred_bytes)}")
        if not math.isnan(self.rounds):
            parts.append(f"{self.rounds:.0f} syncs")
        return f"<MigrationResult {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        return result_html(self)

    def _number(self, *path: str) -> float:
        value: Any = self.info
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return math.nan if value is None else float(value)
