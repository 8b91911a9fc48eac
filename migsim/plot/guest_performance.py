"""Pictures of a guest's users during a migration: transactions a second, and the guest's speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, axes_or_new, finish
from migsim.results import MigrationResult

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.study.guest_performance import GuestPerformance

__all__ = ["WHY_COLOURS", "plot_guest_performance", "plot_guest_speed", "plot_transactions"]

Floats = NDArray[np.float64]

WHY_COLOURS = {
    "running": "0.92",
    "setup": "#fdd0a2",
    "dirty-log faults": "#c7e9c0",
    "throttle": "#fd8d3c",
    "dirty-limit": "#9e9ac8",
    "processors": "#6baed6",
    "blackout": "0.3",
    "standstill": "#d62728",
}
"""Colours of the causes that set the guest's speed (`migsim.models.guest.speed.WHY`)."""

SMALL = MEASURED | {"markersize": 3, "alpha": 0.6}
"""Style of measured points that are many."""


def plot_guest_speed(speed: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the guest's speed over time; the colour of the area is the cause of the speed.

    Parameters
    ----------
    speed : pandas.DataFrame
        The `guest_speed` of a result: the numbers of this picture.
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    for why, colour in WHY_COLOURS.items():
        rows = speed[speed["why"] == why]
        if len(rows):
            width = rows["until_s"] - rows["t_s"]
            height = np.where(why == "blackout", 1.0, rows["speed_fraction"])
            ax.bar(rows["t_s"], height, width, align="edge", color=colour, linewidth=0, label=why)
    edges = np.append(speed["t_s"], speed["until_s"].iloc[-1:])
    ax.stairs(speed["speed_fraction"], edges, baseline=None, **SIMULATED)
    ax.set_ylim(0, 1.05)
    ax.set_xlim(0, float(edges[-1]))
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return finish(ax, title="The guest's speed", x="time since migrate [s]", y="share of full speed")


def plot_transactions(
    predicted: GuestPerformance,
    measured: Sequence[MigrationResult] = (),
    *,
    operation: str = "all",
    ax: Axes | None = None,
) -> Axes:
    """Draw transactions a second over time, predicted with the middle 80 % of the draws, and measured.

    Dashed lines: the pace before the migration, QMP ``migrate``, and the predicted blackout's start and end. The
    numbers are `GuestPerformance.over_time` and `migsim.results.transactions`.

    Parameters
    ----------
    predicted : GuestPerformance
    measured : sequence of MigrationResult
        Records whose guest reports its transactions.
    operation : str
        One kind of transaction; by default all kinds together.
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    rows = predicted.over_time[predicted.over_time["operation"] == operation]
    edges = np.append(rows["t_s"], rows["until_s"].iloc[-1:])
    line = rows["middle_per_s"] if operation == "all" else rows["per_s"]
    low, high = _repeat_last(rows["low"]), _repeat_last(rows["high"])
    ax.fill_between(edges, low, high, step="post", **BAND)
    ax.stairs(line, edges, baseline=None, **SIMULATED, label="predicted, middle 80 %")
    for k, run in enumerate(measured):
        middle_s, per_s = _measured_pace(run, operation, float(edges[-1]))
        label = f"measured, {len(measured)} run" + ("s" if len(measured) > 1 else "")
        ax.plot(middle_s, per_s, **SMALL, label=label if k == 0 else None)
    mix = {c.name: c.mix_fraction for c in predicted.loop.classes}.get(operation, 1.0)
    ax.axhline(predicted.before_per_s * mix, **LIMIT)
    for time_s in (0.0, *_blackout_ends(predicted.middle)):
        ax.axvline(time_s, **LIMIT)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    title = f"{predicted.loop.users} users" + ("" if operation == "all" else f": {operation}")
    return finish(ax, title=title, x="time since migrate [s]", y="transactions a second")


def plot_guest_performance(predicted: GuestPerformance, measured: Sequence[MigrationResult] = ()) -> Figure:
    """Draw transactions a second above the guest's speed, with the same time axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    plot_guest_speed(predicted.middle, ax=below)
    plot_transactions(predicted, measured, ax=above)
    above.set_xlabel("")
    below.set_xlim(above.get_xlim())
    if any(note.startswith("Scaled, never measured") for note in predicted.assumptions):
        figure.suptitle("Scaled from a smaller guest, never measured", fontsize=9)
    return figure


def _repeat_last(values: pd.Series) -> Floats:
    """Append the last value again, at the end of the last step."""
    return np.append(values, values.iloc[-1:])


def _measured_pace(run: MigrationResult, operation: str, until_s: float) -> tuple[Floats, Floats]:
    """Return the middle of each interval that the guest reported until a time, and its transactions a second."""
    from migsim.results.transactions import transactions

    reports = transactions(run)
    if operation != "all":
        reports = reports[reports["operation"] == operation]
    intervals = reports.groupby("t_s", as_index=False).agg({"completed": "sum", "interval_s": "first"})
    intervals = intervals[intervals["t_s"] <= until_s]
    middle_s = intervals["t_s"] - intervals["interval_s"] / 2
    return middle_s.to_numpy(float), (intervals["completed"] / intervals["interval_s"]).to_numpy(float)


def _blackout_ends(speed: pd.DataFrame) -> tuple[float, ...]:
    rows = speed[speed["why"] == "blackout"]
    return tuple(float(time_s) for time_s in (*rows["t_s"], *rows["until_s"]))
