"""What a figure hangs on, as a tornado: a bar an input, the widest on top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from migsim.plot.picture import save_picture
from migsim.plot.style import LIMIT, SIMULATED, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.study.sensitivity import Sensitivity

__all__ = ["plot_tornado", "save_tornado", "tornado_numbers"]

TOP = 10
LOW = "#9ecae1"


def tornado_numbers(made: Sensitivity, *, top: int = TOP) -> pd.DataFrame:
    """Return the rows that `plot_tornado` draws: the inputs that move the figure most alone, the widest first."""
    width = (made.table["high"] - made.table["low"]).abs()
    order = np.argsort(-width.to_numpy(), kind="stable")
    return made.table.iloc[order[:top]].reset_index(drop=True)


def plot_tornado(made: Sensitivity, *, top: int = TOP, ax: Axes | None = None) -> Axes:
    """Draw how far each input moves the figure alone, from its 10 % to its 90 % quantile, and its total Sobol index.

    Parameters
    ----------
    made : Sensitivity
    top : int
        So many inputs at most; the numbers are `tornado_numbers`'.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    rows = tornado_numbers(made, top=top)
    places = np.arange(len(rows))[::-1]
    for column, colour, label in (
        ("low", LOW, "input at its 10 % quantile"),
        ("high", SIMULATED["color"], "input at its 90 % quantile"),
    ):
        ax.barh(places, rows[column] - made.median, left=made.median, height=0.7, color=colour, label=label)
    ax.axvline(made.median, **LIMIT)
    low, high = (float(f(rows[["low", "high"]].to_numpy())) for f in (np.min, np.max))
    room = (high - low or 1.0) * 0.12
    ax.set_xlim(low - room, high + 2 * room)
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
    return finish(ax, title=f"What {made.figure} hangs on", x=f"{made.figure} [{made.unit}]", y="")


def save_tornado(made: Sensitivity, path: Path) -> None:
    """Write `plot_tornado` as a picture; the format follows the file's ending.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    plot_tornado(made, ax=figure.add_subplot())
    save_picture(figure, path)
