"""Every recorded scenario with its measured runs, our prediction and the rivals' predictions.

A prediction uses the guest's trace, the host's profile, the settings and the deadline; the records only supply the
measured figures. `python -m validation.report` makes the page.
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
from migsim.study.matching import check_sides, matching_profile, matching_trace, predict_record
from migsim.study.predict import Prediction
from validation.rivals import RIVALS, RivalInputs, RivalPrediction

if TYPE_CHECKING:
    from migsim.trace import Trace

__all__ = ["METRICS", "Scored", "load_records", "score", "settings_of"]

METRICS = ("total-time", "downtime", "transferred", "rounds")
LARGE_BYTES = 64 << 30

CERTAIN = 0.95
"""Share of the draws from which on a verdict is called certain."""


@dataclass(frozen=True)
class Scored:
    """One scenario: its repeats, our prediction, and the rivals' predictions."""

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
        """Whether more than half of the repeats completed."""
        return sum(run.outcome.status == "completed" for run in self.runs) * 2 > len(self.runs)

    @property
    def agreed(self) -> bool:
        """Whether all repeats ended alike; at the edge of convergence they need not."""
        return len({run.outcome.status for run in self.runs}) == 1

    @property
    def predicted_to_complete(self) -> bool:
        """Whether most draws complete."""
        return self.prediction.outcome.status == "completed"

    @property
    def right(self) -> bool:
        """Whether the predicted verdict is that of the repeats; where these disagree, whether none was certain."""
        if self.agreed:
            return self.predicted_to_complete == self.converged
        return 1 - CERTAIN < self.prediction.completed_fraction < CERTAIN

    @cached_property
    def measured(self) -> dict[str, np.ndarray]:
        """Values of each metric over the repeats that completed."""
        completed = [run for run in self.runs if run.outcome.status == "completed"]
        return {metric: np.array([run.metrics()[metric] for run in completed]) for metric in METRICS}

    def predicted(self, metric: str) -> float:
        """Our value of a metric: the median of the draws; NaN where we predict that the migration does not converge."""
        if not self.predicted_to_complete:
            return float("nan")
        return self.prediction.medians[metric]

    def inside(self, metric: str) -> list[bool]:
        """Tell for each measured value whether it lies in our 80 % interval."""
        if not self.predicted_to_complete:
            return [False] * len(self.measured[metric])
        low, high = self.prediction.intervals[metric]
        step = 0.5 if metric in ("total-time", "downtime") else 0.0  # QEMU reports whole milliseconds
        return [bool(low - step <= value <= high + step) for value in self.measured[metric]]


def load_records(folder: Path) -> dict[str, list[MigrationResult]]:
    """Load all records of a folder by scenario name; the repeats of a scenario are one list."""
    records: dict[str, list[MigrationResult]] = {}
    for path in sorted(folder.glob("*.json")):
        record = MigrationResult.load(path)
        if record.outcome.status not in ("completed", "not-converged"):
            raise RecordError(
                f"{path} ended as {record.outcome.status}: {record.outcome.reason}",
                "Only a run that completed or reached its deadline tells whether the migration converges.",
                "Record it again.",
            )
        records.setdefault(record.name, []).append(record)
    for runs in records.values():
        check_sides(runs)
    return records


def settings_of(scenario: LabScenario) -> tuple[int, float]:
    """Return `max-bandwidth` in bytes/s and `downtime-limit` in ms, with QEMU's defaults filled in."""
    values = scenario.migration.effective(scenario.qemu.version)
    return int(values["max-bandwidth"]), float(values["downtime-limit"])


def score(
    runs: list[MigrationResult], traces: Path, hosts: Path, *, draws: int = 60, seed: int = 1
) -> Scored:
    """Predict a scenario from its guest's trace, with migsim and with every rival."""
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
    """Make the input of the rivals: our curve, and the smaller of the bandwidth limit and the host's fastest rate."""
    bandwidth, limit = settings_of(scenario)
    page_s = host.median("normal_page_s" if scenario.guest.alias_bytes else "fresh_page_s")
    fastest = 4096 / page_s
    fit = prediction.fit
    if fit is None:
        raise ValueError("the prediction was not made from a trace")
    # The fitted curve at windows like Gudkov's, because the windows of a trace are irregular.
    windows = np.geomspace(max(fit.spectrum.window_s.min(), 0.05), 60.0, 24)
    zero = trace.meta.zero_pages or 0
    return RivalInputs(
        ram_bytes=scenario.guest.ram_bytes,
        nonzero_pages=trace.meta.total_pages - zero,
        zero_pages=zero,
        window_s=[float(window) for window in windows],
        dirty_pages=[float(pages) for pages in fit.spectrum.unique_pages(windows)],
        max_bandwidth_bytes_per_s=min(bandwidth or fastest, fastest),
        downtime_limit_ms=limit,
    )
