"""Comparison of predictions with measurements.

`compare` returns one row per measured run and metric:

====================== =============================================================================
column                 meaning
====================== =============================================================================
``name``               the scenario
``run``                number of the measured run of that scenario, from 1
``metric``, ``unit``   ``total-time`` ms, ``downtime`` ms, ``transferred`` bytes, ``rounds``
``predicted``          in `unit`
``measured``           in `unit`
``error``              predicted - measured
``relative_error``     error / measured
``low``, ``high``      the prediction's 80 % interval; NaN where it gives none
``inside``             whether the measurement lies in it; None where either is unknown
``predicted_verdict``  how the migration was predicted to end
``measured_verdict``   how it ended
``verdict_right``      whether both completed, or neither
====================== =============================================================================
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from migsim.errors import RecordError, near_misses
from migsim.results.figures import COMPARED, FIGURES
from migsim.results.migration_result import MigrationResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Predicted", "compare", "summarise"]


class Predicted(Protocol):
    """What is compared with measurements: a `Prediction`, or one simulated `MigrationResult`."""

    @property
    def name(self) -> str:
        """Name of the scenario."""

    @property
    def verdict(self) -> str:
        """How the migration is predicted to end."""

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The middle 80 %, by figure."""

    def metrics(self) -> dict[str, float]:
        """Return the figures that are compared."""


def compare(
    predicted: Predicted | Iterable[Predicted],
    measured: MigrationResult | Iterable[MigrationResult],
) -> pd.DataFrame:
    """Put predictions beside measurements.

    Parameters
    ----------
    predicted : Prediction, simulated MigrationResult, or several
        What is compared of a prediction are its medians. A single prediction is compared with every measurement;
        several are matched by the scenario's name.
    measured : MigrationResult or several
        Repeats of a scenario have the same name.

    Returns
    -------
    pandas.DataFrame
        One row per measured run and metric, with the columns listed in `migsim.results.compare`.

    Raises
    ------
    RecordError
        A measurement has no prediction of its name, or two predictions have the same name.
    """
    import pandas as pd

    single = None if isinstance(predicted, Iterable) else predicted
    by_name = _by_name(predicted) if isinstance(predicted, Iterable) else {}
    rows: list[dict[str, Any]] = []
    runs: Counter[str] = Counter()
    for run in [measured] if isinstance(measured, MigrationResult) else measured:
        prediction = single if single is not None else by_name.get(run.name)
        if prediction is None:
            raise RecordError(
                f"There is no prediction for the record of {run.name!r}.",
                "Predictions and records are matched by the scenario's name.",
                near_misses(run.name, by_name) or "Predict this scenario too, or leave the record out.",
            )
        runs[run.name] += 1
        rows += [_row(metric, prediction, run, runs[run.name]) for metric in COMPARED]
    columns = list(rows[0]) if rows else None
    return pd.DataFrame(rows, columns=columns)


def summarise(comparison: pd.DataFrame) -> pd.DataFrame:
    """Summarise the table of `compare` in one row per scenario and metric.

    Returns
    -------
    pandas.DataFrame
        ``name``, ``metric``, ``unit``, ``runs``; ``predicted``; ``measured`` (the median of the runs), ``lowest`` and
        ``highest`` (of the runs); ``error`` and ``relative_error`` (against the median); ``inside`` (share of the
        runs inside the interval, of those where this is known); ``verdicts_right`` (share of the runs).
    """
    import pandas as pd

    rows = []
    for (name, metric), group in comparison.groupby(["name", "metric"], sort=False):
        median, predicted = group["measured"].median(), group["predicted"].iloc[0]
        known = group["inside"].dropna()
        rows.append(
            {
                "name": name,
                "metric": metric,
                "unit": group["unit"].iloc[0],
                "runs": len(group),
                "predicted": predicted,
                "measured": median,
                "lowest": group["measured"].min(),
                "highest": group["measured"].max(),
                "error": predicted - median,
                "relative_error": (predicted - median) / median if median else math.nan,
                "inside": float(known.astype(bool).mean()) if len(known) else math.nan,
                "verdicts_right": float(group["verdict_right"].astype(bool).mean()),
            }
        )
    return pd.DataFrame(rows)


def _by_name(results: Iterable[Predicted]) -> dict[str, Predicted]:
    found: dict[str, Predicted] = {}
    for result in results:
        if result.name in found:
            raise RecordError(
                f"There are two predictions of {result.name!r}.",
                "Each scenario may have one prediction.",
                "Leave one of them out.",
            )
        found[result.name] = result
    return found


def _row(metric: str, prediction: Predicted, run: MigrationResult, number: int) -> dict[str, Any]:
    predicted, measured = prediction.metrics()[metric], run.metrics()[metric]
    low, high = prediction.intervals.get(metric, (math.nan, math.nan))
    known = not any(math.isnan(value) for value in (low, high, measured))
    return {
        "name": run.name,
        "run": number,
        "metric": metric,
        "unit": FIGURES[metric].unit,
        "predicted": predicted,
        "measured": measured,
        "error": predicted - measured,
        "relative_error": (predicted - measured) / measured if measured else math.nan,
        "low": low,
        "high": high,
        "inside": low <= measured <= high if known else None,
        "predicted_verdict": prediction.verdict,
        "measured_verdict": run.verdict,
        "verdict_right": (prediction.verdict == "completed") == (run.verdict == "completed"),
    }
