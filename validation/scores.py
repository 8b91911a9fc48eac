"""Predicted, measured and the rivals' figures of every recorded scenario, as one table.

A prediction sees the guest's trace, the host's profile, the settings and the deadline; the records only supply what is
measured. `python -m validation.report` makes the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from migsim.errors import RecordError
from migsim.profiles import HostProfile
from migsim.results import MigrationResult
from migsim.scenario import LabScenario
from migsim.study.matching import matching_profile, matching_trace, predict_record
from migsim.study.predict import Prediction
from validation.rivals import RIVALS, RivalInputs, RivalPrediction

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["METRICS", "Scored", "load_records", "score", "settings_of"]

METRICS = ("total-time", "downtime", "transferred", "rounds")
LARGE_BYTES = 64 << 30


@dataclass(frozen=True)
class Scored:
    """One scenario: its repeats, our prediction, and the rivals'."""

    name: str
    runs: tuple[MigrationResult, ...]
    scenario: LabScenario
    prediction: Prediction
    rivals: dict[str, RivalPrediction]

    @property
    def large(self) -> bool:
        """Whether the guest has 64 GiB or more."""
        return self.scenario.guest.ram_bytes >= LARGE_BYTES

    @property
    def converged(self) -> bool:
        """What most of the repeats did."""
        return sum(r.outcome.status == "completed" for r in self.runs) * 2 > len(self.runs)

    @property
    def right(self) -> bool:
        """Whether the verdict predicted is the one measured."""
        return (self.prediction.result.outcome.status == "completed") == self.converged

    @cached_property
    def measured(self) -> dict[str, np.ndarray]:
        """Values of each metric over the repeats that completed."""
        done = [r for r in self.runs if r.outcome.status == "completed"]
        return {m: np.array([r.metrics()[m] for r in done]) for m in METRICS}

    def predicted(self, metric: str) -> float:
        """Our value of a metric: the median of the draws; NaN where we say that it does not converge."""
        if self.prediction.result.outcome.status != "completed":
            return float("nan")
        return self.prediction.medians[metric]

    def inside(self, metric: str) -> list[bool]:
        """For each measurement, whether it lies in our 80 % interval."""
        if not self.right:
            return [False] * len(self.measured[metric])
        pair = self.prediction.result.intervals[metric]
        low, high = pair
        step = 0.5 if metric in ("total-time", "downtime") else 0.0  # QEMU reports whole milliseconds
        return [bool(low - step <= v <= high + step) for v in self.measured[metric]]


def load_records(folder: Path) -> dict[str, list[MigrationResult]]:
    """Load every record in a folder, repeats together, by scenario name."""
    found: dict[str, list[MigrationResult]] = {}
    for path in sorted(folder.glob("*.json")):
        record = MigrationResult.load(path)
        if record.outcome.status not in ("completed", "not-converged"):
            raise RecordError(
                f"{path} ended as {record.outcome.status}: {record.outcome.reason}",
                "A run that failed says nothing about convergence.",
                "Record it again.",
            )
        found.setdefault(record.name, []).append(record)
    return found


def settings_of(scenario: LabScenario) -> tuple[int, float]:
    """`max-bandwidth` in bytes/s and `downtime-limit` in ms, defaults filled in."""
    values = scenario.migration.effective(scenario.qemu.version)
    return int(values["max-bandwidth"]), float(values["downtime-limit"])


def score(
    runs: list[MigrationResult], traces: Path, hosts: Path, *, draws: int = 60, seed: int = 1
) -> Scored:
    """Predict a scenario from its guest's trace, by us and by the rivals."""
    scenario = LabScenario.from_dict(runs[0].scenario)
    trace = matching_trace(runs[0], traces)
    host = matching_profile(runs[0], hosts)
    prediction = predict_record(runs[0], trace, host, draws=draws, seed=seed)
    inputs = rival_inputs(scenario, trace, prediction, host)
    return Scored(
        name=runs[0].name,
        runs=tuple(runs),
        scenario=scenario,
        prediction=prediction,
        rivals={name: predict(inputs) for name, predict in RIVALS.items()},
    )


def rival_inputs(
    scenario: LabScenario, trace: Trace, prediction: Prediction, host: HostProfile
) -> RivalInputs:
    """What a rival gets: our curve, and what the host can send at the most where the limit is above that."""
    bandwidth, limit = settings_of(scenario)
    page_s = host.median("normal_page_s" if scenario.guest.alias_bytes else "fresh_page_s")
    fastest = 4096 / page_s
    fit = prediction.fit
    if fit is None:
        raise ValueError("the prediction was not made from a trace")
    # The curve on a ladder as Gudkov's own: fitted, since a trace's own windows are irregular.
    windows = np.geomspace(max(fit.spectrum.window_s.min(), 0.05), 60.0, 24)
    zero = trace.meta.zero_pages or 0
    return RivalInputs(
        ram_bytes=scenario.guest.ram_bytes,
        nonzero_pages=trace.meta.total_pages - zero,
        zero_pages=zero,
        window_s=[float(w) for w in windows],
        dirty_pages=[float(u) for u in fit.spectrum.unique_pages(windows)],
        max_bandwidth_bytes_per_s=min(bandwidth or fastest, fastest),
        downtime_limit_ms=limit,
    )
