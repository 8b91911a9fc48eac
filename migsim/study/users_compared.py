"""The transactions that a measured guest lost through a migration, beside what was predicted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from migsim.models.users.course import lost_by_waiting
from migsim.results import MigrationResult
from migsim.results.transactions import lost_transactions, transactions
from migsim.study.guest_performance import lost_by_draw

if TYPE_CHECKING:
    import pandas as pd

    from migsim.calibrate.users import LoopFit
    from migsim.study.predict import Prediction

__all__ = ["compare_guest_performance"]

NORMAL_80 = 1.2816
"""Standard deviations to either side that hold 80 % of a normal distribution."""


def compare_guest_performance(made: Prediction, fit: LoopFit, measured: MigrationResult) -> pd.DataFrame:
    r"""Set the transactions that a measured guest lost beside what was predicted for the same window.

    What it lost is told from how long its users waited (`migsim.models.users.course.lost_by_waiting`), with the
    response time before the migration as that at rest: the chance of their think times is not in it. By counting, it
    is the pace that the loop has in the long run, :math:`N/(Z + R_0)`, times the window, less what was completed; that
    has their chance in it.

    Parameters
    ----------
    made : Prediction
    fit : LoopFit
        From reports before the migration.
    measured : MigrationResult
        A record whose guest reports its transactions.

    Returns
    -------
    pandas.DataFrame
        One row: ``name``, ``window_s``, ``long_run_per_s``, ``completed``; what was ``lost`` and ``lost_sd``, from how
        much the mean response time differed from line to line before; ``lost_by_count`` and its
        ``lost_by_count_sd``, :math:`\sqrt{X W}`; ``predicted_lost``, ``low``, ``high`` (80 % of the draws);
        ``relative_error`` of the prediction; whether what was lost is ``inside`` those 80 %, widened by 80 % of its own
        error.

    Raises
    ------
    RecordError
        When the record tells no transactions before or during the migration.
    """
    import pandas as pd

    rows = lost_transactions(measured)
    row = rows[rows["operation"] == "all"].iloc[0]
    window_s, completed = float(row["window_s"]), float(row["completed"])
    loop = fit.loop
    rest_s = fit.measured_response_s if fit.measured_response_s > 0 else loop.steady().response_s
    usual = loop.users / (loop.think_s + rest_s)
    waited_s, stopped_s = _waited(measured)
    lost = lost_by_waiting(
        loop.users, loop.think_s, rest_s, completed=completed, waited_s=waited_s, stopped_s=stopped_s
    )
    lost_sd = completed * _rest_error_s(measured, window_s) / (loop.think_s + rest_s)
    predicted = lost_by_draw(made, loop, window_s=window_s)
    low, point, high = (float(q) for q in np.percentile(predicted, [10, 50, 90]))
    return pd.DataFrame(
        [
            {
                "name": measured.name,
                "window_s": window_s,
                "long_run_per_s": usual,
                "completed": completed,
                "lost": lost,
                "lost_sd": lost_sd,
                "lost_by_count": usual * window_s - completed,
                "lost_by_count_sd": math.sqrt(usual * window_s),
                "predicted_lost": point,
                "low": low,
                "high": high,
                "relative_error": (point - lost) / lost if lost else math.nan,
                "inside": bool(low - NORMAL_80 * lost_sd <= lost <= high + NORMAL_80 * lost_sd),
            }
        ]
    )


def _waited(measured: MigrationResult) -> tuple[float, float]:
    """How long the answers since QMP ``migrate`` took, summed, and for how long the guest's clock stood still."""
    seen = transactions(measured)
    lines = seen.groupby("t_s")[["clock_s", "interval_s"]].first()
    since = lines[lines.index > 0]
    clock_s = float(since["clock_s"].max() - lines.loc[lines.index <= 0, "clock_s"].max())
    after = seen[seen["t_s"] > 0]
    waited_s = float((after["completed"] * after["mean_latency_s"].fillna(0.0)).sum())
    return waited_s, float(since["interval_s"].sum()) - clock_s


def _rest_error_s(measured: MigrationResult, window_s: float, before_s: float = 20.0) -> float:
    """Standard error of the difference of the response time's means before and in the window, were it one guest."""
    seen = transactions(measured)
    before = seen[(seen["t_s"] <= 0) & (seen["t_s"] >= -before_s)]
    waited = (before["completed"] * before["mean_latency_s"].fillna(0.0)).groupby(before["t_s"]).sum()
    means = waited / before.groupby("t_s")["completed"].sum().replace(0, np.nan)
    length_s = before.groupby("t_s")["interval_s"].first()
    return float(means.std() * np.sqrt(length_s.mean() * (1 / length_s.sum() + 1 / window_s)))
