"""A prediction: many simulated migrations, drawn from what is uncertain about the guest and the host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.engine.events.precopy import simulate
from migsim.html import html_list
from migsim.models.dirty.tcg_log import tcg_notes
from migsim.profiles import HostProfile
from migsim.qapi import NEWEST, QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import MigrationSettings
from migsim.study.draws import INTERVAL_FIELDS, base_input, draw_all, figures, workload_of
from migsim.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.trace import Trace

__all__ = ["INTERVAL_FIELDS", "Prediction", "left_out", "pace_note", "predict", "predict_workload"]

REPLICATES = 40
MODELLED = frozenset({"events", "return-path", "xbzrle", "auto-converge", "dirty-limit", "multifd"})
"""Capabilities that the engine models, or that change nothing in it."""


@dataclass(frozen=True)
class Prediction:
    """What is predicted for one migration.

    Attributes
    ----------
    result : MigrationResult
        The draw nearest the medians, with `intervals` filled in.
    completed_fraction : float
        Share of the draws that completed before the deadline.
    assumptions : tuple of str
    draws : tuple of dict
        `INTERVAL_FIELDS` of every draw that ended like `result`; with XBZRLE also ``cache-hit-rate`` and
        ``xbzrle-bytes``, with auto-converge ``throttle-N``, the second at which N % began.
    fit : WorkloadFit, optional
        How the trace was read, when there was one.
    runs : tuple of MigrationResult
        The same draws; their tables are made when they are looked at.
    """

    result: MigrationResult
    completed_fraction: float
    assumptions: tuple[str, ...]
    draws: tuple[dict[str, float], ...]
    fit: WorkloadFit | None = None
    runs: tuple[MigrationResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def guest_speeds(self) -> tuple[pd.DataFrame, ...]:
        """`MigrationResult.guest_speed` of the draws: see `migsim.study.guest_performance`."""
        return tuple(run.guest_speed for run in self.runs)

    @property
    def medians(self) -> dict[str, float]:
        """Medians of the draws, `INTERVAL_FIELDS`: the point prediction."""
        return {name: float(np.median([d[name] for d in self.draws])) for name in INTERVAL_FIELDS}

    def median(self, name: str) -> float:
        """Median of one figure over the draws that have it; NaN where none does."""
        seen = [d[name] for d in self.draws if name in d]
        return float(np.median(seen)) if seen else float("nan")

    def to_json_object(self) -> dict[str, Any]:
        """`query-migrate`'s object with `outcome`, `reason`, `intervals`, `downtime-parts`, `assumptions`."""
        r = self.result
        return {
            **r.info,
            "outcome": r.outcome.status,
            "reason": r.outcome.reason,
            "completed-fraction": self.completed_fraction,
            "medians": {name: value for name, value in self.medians.items() if value == value},
            "intervals": {name: list(pair) for name, pair in r.intervals.items()},
            "downtime-parts": dict(r.downtime_parts_ms),
            "costs": dict(r.costs),
            "assumptions": list(self.assumptions),
        }

    def __repr__(self) -> str:
        return f"<Prediction {self.result.outcome.status}: {self.result.outcome.reason}>"

    def _repr_html_(self) -> str:
        drawn = f"<p>{self.completed_fraction:.0%} of the draws complete before the deadline.</p>"
        return f"<div>{self.result._repr_html_()}{drawn}{html_list('Assumed', self.assumptions)}</div>"


@dataclass(frozen=True)
class _Drawn:
    """One draw and the fields that intervals are made of."""

    result: MigrationResult
    fields: dict[str, float] = field(default_factory=dict)


def predict(
    trace: Trace,
    *,
    host: HostProfile,
    settings: MigrationSettings | None = None,
    qemu_version: str | None = None,
    replicates: int = REPLICATES,
    seed: int = 1,
    deadline_s: float = 1800.0,
    link_bytes_per_s: float | None = None,
    fresh_pages: int | None = None,
    dirty_ring_size: int = 0,
    load: float = 1.0,
    writes_scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Predict the migration of a traced guest.

    Parameters
    ----------
    trace : Trace
        What `migsim trace record` wrote.
    host : HostProfile
        What `migsim calibrate host` measured.
    settings : MigrationSettings, optional
        Parameters and capabilities; what is absent has the release's default.
    qemu_version : str, optional
        Default: the profile's.
    replicates : int
        Draws; 1 uses the medians and expected dirty counts.
    seed : int
    deadline_s : float
        When the migration would be given up.
    link_bytes_per_s : float, optional
        What the network carries, when that is less than the CPUs do.
    fresh_pages : int, optional
        Data pages that the destination has yet to touch; by default all. 0 where its memory is preallocated.
    dirty_ring_size : int
        Entries of KVM's dirty ring a vCPU, where the guest runs with one; dirty-limit needs it.
    load : float
        Share of its full speed that the guest needs for its work; 1: it works as fast as it can.
    writes_scale : float
        How often it writes, times what was traced.
    progress : callable, optional
        Called with (done, of) draws.

    Raises
    ------
    TraceError, ProfileError, ParameterError

    Examples
    --------
    >>> predict(Trace.open("db.trace"), host=profile).result.outcome       # doctest: +SKIP
    """
    coded = settings is not None and bool(settings.capabilities.get("xbzrle"))
    workload, fit = workload_of(trace, host, load=load, contents=[coded])
    made = predict_workload(
        workload.scaled(writes_scale),
        host=host,
        settings=settings,
        qemu_version=qemu_version,
        replicates=replicates,
        seed=seed,
        deadline_s=deadline_s,
        link_bytes_per_s=link_bytes_per_s,
        fresh_pages=fresh_pages,
        dirty_ring_size=dirty_ring_size,
        vcpus=trace.meta.vcpus or 1,
        progress=progress,
    )
    return replace(made, fit=fit)


def predict_workload(
    workload: Workload,
    *,
    host: HostProfile,
    settings: MigrationSettings | None = None,
    qemu_version: str | None = None,
    replicates: int = REPLICATES,
    seed: int = 1,
    deadline_s: float = 1800.0,
    link_bytes_per_s: float | None = None,
    fresh_pages: int | None = None,
    dirty_ring_size: int = 0,
    vcpus: int = 1,
    name: str = "",
    family: Callable[[np.random.Generator], Workload] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Predict the migration of a guest whose workload is known; see `predict`.

    Where the workload itself is uncertain, `family` draws one for each replicate; `workload` is then its median.
    """
    base = base_input(
        workload,
        host=host,
        settings=settings,
        qemu_version=qemu_version,
        deadline_s=deadline_s,
        link_bytes_per_s=link_bytes_per_s,
        fresh_pages=fresh_pages,
        dirty_ring_size=dirty_ring_size,
        vcpus=vcpus,
        name=name,
    )
    drawn: list[_Drawn] = []
    for k, draw in enumerate(draw_all(host, workload.writes_spread, replicates, seed)):
        one = base
        if family is not None and replicates > 1:
            one = replace(base, workload=family(np.random.default_rng((seed, k))))
        result = simulate(draw.of(one), seed=draw.seed)
        drawn.append(_Drawn(result, figures(result)))
        if progress:
            progress(k + 1, replicates)
    made = _summarise(drawn, workload, host, base.version)
    notes = (pace_note(workload.load_fraction), *left_out(base.version, base.capabilities, base.accel))
    return replace(made, assumptions=(*made.assumptions, *notes))


def pace_note(load: float) -> str:
    """How the guest's work is taken to go on, a sentence."""
    if load == 1:
        return "The guest works in a closed loop: time lost to the migration is not caught up."
    return f"The guest needs {load:.0%} of its full speed: it is slowed only below that, and catches up."


def left_out(version: QemuVersion, capabilities: Mapping[str, bool], accel: str) -> list[str]:
    """What was asked for and is not in the model, a sentence each."""
    notes = [
        f"{name} is on and not modelled: what it changes is left out."
        for name, on in capabilities.items()
        if on and name not in MODELLED
    ]
    if version.release > NEWEST:
        notes.append(f"QEMU {version} is taken to behave like {NEWEST}, the newest release that is known.")
    notes += tcg_notes(version, accel)
    return notes


def _summarise(
    drawn: list[_Drawn], workload: Workload, host: HostProfile, version: QemuVersion
) -> Prediction:
    """Take the majority's verdict, its draw nearest the medians, and the middle 80 %."""
    completed = [d for d in drawn if d.result.outcome.status == "completed"]
    fraction = len(completed) / len(drawn)
    status = "completed" if fraction >= 0.5 else "not-converged"
    kept = [d for d in drawn if d.result.outcome.status == status]
    table = np.array([[d.fields[name] for name in INTERVAL_FIELDS] for d in kept])
    middle = np.median(table, axis=0)
    weights = np.array([4.0, 2.0, 2.0, 0.5, 0.0, 0.0])
    distance = np.nansum(weights * np.abs(table - middle) / np.maximum(np.abs(middle), 1e-9), axis=1)
    central = kept[int(np.argmin(distance))].result
    low = np.percentile(table, 10, axis=0, method="lower")
    high = np.percentile(table, 90, axis=0, method="higher")
    intervals = {
        name: (float(a), float(b))
        for name, a, b in zip(INTERVAL_FIELDS, low, high, strict=True)
        if np.isfinite(a)
    }
    notes = [*workload.assumptions]
    if not host.qemu_version.startswith(f"{version.major}.{version.minor}"):
        notes.append(f"The host profile was measured with QEMU {host.qemu_version}, not {version}.")
    return Prediction(
        result=central.replace(intervals=intervals),
        completed_fraction=fraction,
        assumptions=tuple(notes),
        draws=tuple(d.fields for d in kept),
        runs=tuple(d.result for d in kept),
    )
