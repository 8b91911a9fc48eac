"""The talk's chart of idle guests, as the model has it; every curve says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.plot.bitmap import size_axis
from migsim.plot.style import BAND, LIMIT, SIMULATED, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CURVES", "plot_idle_chart", "plot_talk"]

CURVES = {
    "total_s": ("Total time", "seconds"),
    "downtime_s": ("Downtime", "seconds"),
    "mean_gbit_per_s": ("Throughput, mean", "Gbit/s"),
    "peak_gbit_per_s": ("Throughput, best second", "Gbit/s"),
    "longest_stall_s": ("Longest stall of I/O and timers", "seconds"),
    "lock_duty": ("Big lock held", "share of the time"),
}
"""Columns of `migsim.study.talk.idle_chart` that are drawn: title and unit."""

LOGARITHMIC = {"total_s", "longest_stall_s"}
COLOURS = {"iothread": "#d62728", "thread": "#1f77b4"}


def plot_idle_chart(
    chart: pd.DataFrame, curve: str = "total_s", *, limit: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw one column of the chart against guest size, both trees, with the band of the costs' ranges.

    Parameters
    ----------
    chart : pandas.DataFrame
        As `migsim.study.talk.idle_chart` returns it: the numbers of this picture.
    curve : str
        A key of `CURVES`.
    limit : float, optional
        Drawn as a dashed line.
    ax : matplotlib.axes.Axes, optional
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    for design, rows in chart.groupby("design", sort=False):
        table = rows.pivot_table(index="ram_gib", columns="costs", values=curve)
        colour = {"color": COLOURS[str(design)]}
        ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), **BAND | colour)
        label = f"{rows['tree'].iloc[0]} (modelled)"
        ax.plot(table.index, table["value"], **SIMULATED | colour, label=label)
    if limit is not None:
        ax.axhline(limit, **LIMIT)
    size_axis(ax, chart["ram_gib"])
    if curve in LOGARITHMIC:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    title, unit = CURVES[curve]
    return finish(ax, title=title, x="idle guest's RAM", y=unit)


def plot_talk(chart: pd.DataFrame, *, downtime_limit_s: float = 2.0) -> Figure:
    """Draw all of `CURVES`, one a panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    for ax, curve in zip(figure.subplots(2, 3).flat, CURVES, strict=True):
        plot_idle_chart(chart, curve, limit=downtime_limit_s if curve == "downtime_s" else None, ax=ax)
    figure.suptitle(
        "Idle guests, speed 10G, downtime limit 2 s: modelled, band = range of the costs", fontsize=11
    )
    return figure
