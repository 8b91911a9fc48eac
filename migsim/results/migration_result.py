"""The result of one migration, simulated or measured."""

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
        A migration that does not converge has an outcome; that is not an error.
    reason : str
        Why it ended so, in a sentence.
    left_bytes : int or None
        What was left to send when the guest was stopped; None where unknown, or where it was not.
    """

    status: Status
    reason: str = ""
    left_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise RecordError(
                f"The outcome is {self.status!r}.",
                f"An outcome is one of {', '.join(get_args(Status))}.",
                "Use one of these.",
            )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MigrationResult:
    """A migration, simulated or real.

    Attributes
    ----------
    kind : {"measured", "simulated"}
        Where the result comes from.
    name : str
        Name of the scenario; repeats have the same name.
    qemu_version, accel : str
        For example ``"10.0.2"``; ``"kvm"`` or ``"tcg"``.
    outcome : Outcome
        How it ended.
    info : dict
        The last answer to ``query-migrate``, with QAPI's names and units.
    iterations : pandas.DataFrame
        One row per ``dirty-sync-count``; the columns are described in `migsim.results.iterations`.
    timeline : pandas.DataFrame
        ``query-migrate`` over time: ``t_s`` [s since QMP migrate] and the flattened fields of the answers.
    events : list of dict
        QMP events: ``name``, ``seconds``, ``data``.
    downtime_parts_ms : dict of str to float
        The parts of the downtime; they sum to it.
    blackout_ms : float
        Time from STOP on the source to RESUME on the destination; NaN where unknown.
    costs : dict of str to float
        The migration's costs for the guest: ``guest-lost-s`` is the time in which the guest did no work, because of
        throttling, full rings, log faults and the blackout together. Empty where unknown.
    guest_speed : pandas.DataFrame
        A simulated guest's speed over time, until it runs at the destination; the columns are described in
        `migsim.results.guest_speed`.
    intervals : dict of str to (float, float)
        80 % interval of each figure of `migsim.results.figures.INTERVALS`, in its unit.
    scenario, provenance : dict
        The scenario that ran; who made the result.
    guest_log : list
        The lines of the guest's serial ports.
    host_load : dict
        The host's load during the migration.
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
                f"The kind of a result is {self.kind!r}.",
                "A result is measured or simulated.",
                "Use one of these.",
            )
        # A lazy table is taken out of the attributes, so that the first access to it calls __getattr__.
        lazy_tables = {name: value for name, value in self.__dict__.items() if isinstance(value, LazyTable)}
        for name in lazy_tables:
            del self.__dict__[name]
        self.__dict__["_lazy_tables"] = lazy_tables

    if not TYPE_CHECKING:  # for the type checker every table is an attribute

        def __getattr__(self, name: str) -> Any:
            """Make a lazy table on first access."""
            lazy_tables = self.__dict__.get("_lazy_tables", {})
            if name not in lazy_tables:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            table = self.__dict__[name] = lazy_tables.pop(name).make()
            return table

    @property
    def total_time_ms(self) -> float:
        """``total-time`` of `info`; NaN where it is missing."""
        return self._number("total-time")

    @property
    def downtime_ms(self) -> float:
        """``downtime`` of `info`, as the source counts it; NaN unless the migration completed."""
        return self._number("downtime")

    @property
    def transferred_bytes(self) -> float:
        """``ram.transferred`` of `info`; what it counts depends on the QEMU version."""
        return self._number("ram", "transferred")

    @property
    def rounds(self) -> float:
        """``ram.dirty-sync-count`` of `info`; before 2.1, which lacks it, the number of rows of `iterations`."""
        counted = self._number("ram", "dirty-sync-count")
        if math.isnan(counted) and len(self.iterations):
            return float(len(self.iterations))
        return counted

    @property
    def verdict(self) -> Status:
        """The status of the outcome."""
        return self.outcome.status

    @property
    def cores(self) -> Mapping[str, Any]:
        """Cores that a measured migration's ``source`` and ``destination`` were pinned to; {} where they were not."""
        held = self.provenance.get("cores")
        return held if isinstance(held, Mapping) else {}

    @property
    def apart(self) -> bool:
        """Whether each side had cores of its own, as on two hosts; not where the scheduler placed them."""
        source, destination = (self.cores.get(side) for side in ("source", "destination"))
        if not isinstance(source, list) or not isinstance(destination, list):
            return False
        return not any(core in destination for core in source)

    def metrics(self) -> dict[str, float]:
        """Return the numbers that results are compared by: see `migsim.results.figures.COMPARED`."""
        measured = {"rounds": self.rounds}  # before 2.1, where QEMU does not count them
        return {name: measured.get(name, self._number(*FIGURES[name].qemu_field)) for name in COMPARED}

    def save(self, path: str | Path) -> None:
        """Write the result as a JSON record; if that fails, no file is left.

        Raises
        ------
        RecordError
            `info` is not an answer to ``query-migrate``.
        HostError
            The file cannot be written.
        """
        from migsim.results.record_file import write_record

        write_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record that `save` wrote.

        Raises
        ------
        RecordError
            The file is missing, cut short, not a record, or of a newer migsim.
        """
        from migsim.results.record_file import read_record

        return cls(**read_record(path))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed; lazy tables are lazy in the copy too."""
        lazy_tables = self.__dict__["_lazy_tables"]
        fields = {
            name: lazy_tables.get(name) or getattr(self, name) for name in type(self).__dataclass_fields__
        }
        return type(self)(**(fields | changes))

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
