"""Transactions that a measured guest lost through a migration, compared with the predicted number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from migsim.intervals import NORMAL_DEVIATE, low_median_high
from migsim.models.users.course import lost_by_waiting
from migsim.results import MigrationResult
from migsim.results.transactions import lost_transactions, transactions
from migsim.study.guest_performance import lost_by_draw

if TYPE_CHECKING:
    import pandas as pd

    from migsim.calibrate.users import LoopFit
    from migsim.study.predict import Prediction

__all__ = ["compare_guest_performance"]


def compare_guest_performance(
    prediction: Prediction, fit: LoopFit, measured: MigrationResult
) -> pd.DataFrame:
    r"""Compare the transactions that a measured guest lost with the number predicted for the same window.

    The measured number is found in two ways. From how long its users waited
    (`migsim.models.users.course.lost_by_waiting`), with the response time before the migration as the undisturbed one:
    the chance of the users' think times does not enter. By counting, as the loop's long-run pace
    :math:`N/(Z + R_0)` times the window, less the completed transactions: that chance enters.

    Parameters
    ----------
    prediction : Prediction
    fit : LoopFit
        The closed loop, fitted to reports before the migration.
    measured : MigrationResult
        A record whose guest reports its transactions.

    Returns
    -------
    pandas.DataFrame
        One row: ``name``, ``window_s``, ``long_run_per_s``, ``completed``; ``lost``, from waiting, and its standard
        error ``lost_sd``, from the scatter of the mean response time between reports before the migration;
        ``lost_by_count`` and ``lost_by_count_sd``, :math:`\sqrt{X W}`; ``predicted_lost``, ``low``, ``high`` (80 % of
        the draws); ``relative_error`` of the prediction; ``inside``: whether ``lost`` lies in that interval,
        widened by the 80 % interval of its own error.

    Raises
    ------
    RecordError
        When the record has no transactions before or during the migration.
    """
    import pandas as pd

    rows = lost_transactions(measured)
    row = rows[rows["operation"] == "all"].iloc[0]
    window_s, completed = float(row["window_s"]), float(row["completed"])
    loop = fit.loop
    rest_s = fit.measured_response_s if fit.measured_response_s > 0 else loop.steady().response_s
    undisturbed_per_s = loop.users / (loop.think_s + rest_s)
    waited_s, stopped_s = _waited(measured)
    lost = lost_by_waiting(
        loop.users, loop.think_s, rest_s, completed=completed, waited_s=waited_s, stopped_s=stopped_s
    )
    lost_sd = completed * _rest_error_s(measured, window_s) / (loop.think_s + rest_s)
    predicted = lost_by_draw(prediction, loop, window_s=window_s)
    low, point, high = low_median_high(predicted)
    return pd.DataFrame(
        [
            {
                "name": measured.name,
                "window_s": window_s,
                "long_run_per_s": undisturbed_per_s,
                "completed": completed,
                "lost": lost,
                "lost_sd": lost_sd,
                "lost_by_count": undisturbed_per_s * window_s - completed,
                "lost_by_count_sd": math.sqrt(undisturbed_per_s * window_s),
                "predicted_lost": point,
                "low": low,
                "high": high,
                "relative_error": (point - lost) / lost if lost else math.nan,
                "inside": bool(low - NORMAL_DEVIATE * lost_sd <= lost <= high + NORMAL_DEVIATE * lost_sd),
            }
        ]
    )


def _waited(measured: MigrationResult) -> tuple[float, float]:
    """Return the summed response times since QMP ``migrate``, and how long the guest's clock stood still."""
    reports = transactions(measured)
    lines = reports.groupby("t_s")[["clock_s", "interval_s"]].first()
    since = lines[lines.index > 0]
    clock_s = float(since["clock_s"].max() - lines.loc[lines.index <= 0, "clock_s"].max())
    after = reports[reports["t_s"] > 0]
    waited_s = float((after["completed"] * after["mean_latency_s"].fillna(0.0)).sum())
    return waited_s, float(since["interval_s"].sum()) - clock_s


def _rest_error_s(measured: MigrationResult, window_s: float, before_s: float = 20.0) -> float:
    """Return the standard error of the difference between the mean response times before and in the window.

    It is the error of a guest that nothing disturbs in either.
    """
    reports = transactions(measured)
    before = reports[(reports["t_s"] <= 0) & (reports["t_s"] >= -before_s)]
    waited = (before["completed"] * before["mean_latency_s"].fillna(0.0)).groupby(before["t_s"]).sum()
    means = waited / before.groupby("t_s")["completed"].sum().replace(0, np.nan)
    length_s = before.groupby("t_s")["interval_s"].first()
    return float(means.std() * np.sqrt(length_s.mean() * (1 / length_s.sum() + 1 / window_s)))
