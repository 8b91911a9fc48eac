"""Tornado picture of a sensitivity: for each uncertain input a bar of its effect on the figure, the widest on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from migsim.plot.picture import save_picture
from migsim.plot.style import LIMIT, SIMULATED, axes_or_new, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.study.sensitivity import Sensitivity

__all__ = ["plot_tornado", "save_tornado", "tornado_numbers"]

TOP = 10
"""Most inputs that are drawn by default."""
LOW = "#9ecae1"
"""Colour of the bars for an input's 10 % quantile."""


def tornado_numbers(sensitivity: Sensitivity, *, top: int = TOP) -> pd.DataFrame:
    """Return the rows that `plot_tornado` draws: the inputs with the largest effect alone, the largest first."""
    width = (sensitivity.table["high"] - sensitivity.table["low"]).abs()
    order = np.argsort(-width.to_numpy(), kind="stable")
    return sensitivity.table.iloc[order[:top]].reset_index(drop=True)


def plot_tornado(sensitivity: Sensitivity, *, top: int = TOP, ax: Axes | None = None) -> Axes:
    """Draw the figure with each input alone at its 10 % and 90 % quantile, and the input's total Sobol index.

    The numbers are those of `tornado_numbers`.

    Parameters
    ----------
    sensitivity : Sensitivity
    top : int
        Most inputs that are drawn.
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    median = sensitivity.median
    rows = tornado_numbers(sensitivity, top=top)
    places = np.arange(len(rows))[::-1]
    for column, colour, label in (
        ("low", LOW, "input at its 10 % quantile"),
        ("high", SIMULATED["color"], "input at its 90 % quantile"),
    ):
        ax.barh(places, rows[column] - median, left=median, height=0.7, color=colour, label=label)
    ax.axvline(median, **LIMIT)
    ends = rows[["low", "high"]].to_numpy()
    low, high = float(ends.min()), float(ends.max())
    margin = (high - low or 1.0) * 0.12
    ax.set_xlim(low - margin, high + 2 * margin)
    for place, total in zip(places, rows["total"], strict=True):
        ax.annotate(
            f"{total:.2f}",
            (0.99, place),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8,
        )
    ax.annotate(
        "total index", (0.99, len(rows) - 0.4), xycoords=("axes fraction", "data"), ha="right", fontsize=8
    )
    ax.set_yticks(places, rows["input"])
    ax.set_axisbelow(True)
    ax.set_ylim(-0.6, len(rows))
    ax.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(0.9, 0.0))
    figure = sensitivity.figure
    return finish(ax, title=f"Sensitivity of {figure}", x=f"{figure} [{sensitivity.unit}]", y="")


def save_tornado(sensitivity: Sensitivity, path: Path) -> None:
    """Write the picture of `plot_tornado` to a file; the file's ending chooses the format.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    plot_tornado(sensitivity, ax=figure.add_subplot())
    save_picture(figure, path)
