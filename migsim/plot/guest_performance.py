"""A guest's users through a migration: transactions over time, and the guest's speed beneath them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, finish
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
"""What sets the guest's speed (`migsim.models.guest.speed.WHY`)."""

SMALL = MEASURED | {"markersize": 3, "alpha": 0.6}


def plot_guest_speed(speed: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the guest's speed over time; the area's colour is what sets it.

    Parameters
    ----------
    speed : pandas.DataFrame
        A result's `guest_speed`: the numbers of this picture.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _axes(ax)
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

    Dashed: the pace before, QMP ``migrate``, and the predicted blackout's begin and end. The numbers are
    `GuestPerformance.over_time` and `migsim.results.transactions`.

    Parameters
    ----------
    predicted : GuestPerformance
    measured : sequence of MigrationResult
        Records whose guest reports its transactions.
    operation : str
        One kind of transaction; all by default.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _axes(ax)
    rows = predicted.over_time[predicted.over_time["operation"] == operation]
    edges = np.append(rows["t_s"], rows["until_s"].iloc[-1:])
    line = rows["middle_per_s"] if operation == "all" else rows["per_s"]
    ax.fill_between(edges, _held(rows["low"]), _held(rows["high"]), step="post", **BAND)
    ax.stairs(line, edges, baseline=None, **SIMULATED, label="predicted, middle 80 %")
    for k, run in enumerate(measured):
        middle_s, per_s = _measured(run, operation, float(edges[-1]))
        many = f"measured, {len(measured)} run" + ("s" if len(measured) > 1 else "")
        ax.plot(middle_s, per_s, **SMALL, label=many if k == 0 else None)
    mix = {c.name: c.mix_fraction for c in predicted.loop.classes}.get(operation, 1.0)
    ax.axhline(predicted.before_per_s * mix, **LIMIT)
    for at in (0.0, *_blackout(predicted.middle)):
        ax.axvline(at, **LIMIT)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    title = f"{predicted.loop.users} users" + ("" if operation == "all" else f": {operation}")
    return finish(ax, title=title, x="time since migrate [s]", y="transactions a second")


def plot_guest_performance(predicted: GuestPerformance, measured: Sequence[MigrationResult] = ()) -> Figure:
    """Draw transactions over time above the guest's speed, on one time axis."""
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


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.figure().add_subplot()
    return ax


def _held(values: pd.Series) -> Floats:
    """Repeat the last value, so that a step has an end."""
    return np.append(values, values.iloc[-1:])


def _measured(run: MigrationResult, operation: str, until_s: float) -> tuple[Floats, Floats]:
    """Middle and pace of each interval that a guest reported, up to a time."""
    from migsim.results.transactions import transactions

    seen = transactions(run)
    if operation != "all":
        seen = seen[seen["operation"] == operation]
    made = seen.groupby("t_s", as_index=False).agg({"completed": "sum", "interval_s": "first"})
    made = made[made["t_s"] <= until_s]
    middle = made["t_s"] - made["interval_s"] / 2
    return middle.to_numpy(float), (made["completed"] / made["interval_s"]).to_numpy(float)


def _blackout(speed: pd.DataFrame) -> tuple[float, ...]:
    rows = speed[speed["why"] == "blackout"]
    return tuple(float(at) for at in (*rows["t_s"], *rows["until_s"]))
