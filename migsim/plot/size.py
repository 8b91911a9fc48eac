"""A sizing in a picture: each required figure over the value that was looked for, with its limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migsim.plot.picture import save_picture
from migsim.plot.style import BAND, LIMIT, SIMULATED, finish
from migsim.plot.sweep import drawn_factor, label_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.study.size.requirement import Requirement
    from migsim.study.size.search import Sizing

__all__ = ["plot_met", "plot_required", "plot_sizing", "save_sizing"]


def plot_met(made: Sizing, *, ax: Axes | None = None) -> Axes:
    """Draw the share of the draws that meets everything; the numbers are ``value`` and ``met`` of `made.table`."""
    ax = _axes(made, ax)
    ax.plot(made.table["value"] * drawn_factor(made.axis), made.table["met"], marker=".", **SIMULATED)
    ax.axhline(made.confidence, **LIMIT)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return finish(ax, title="draws that meet everything", x=made.axis.name, y="")


def plot_required(made: Sizing, requirement: Requirement, *, ax: Axes | None = None) -> Axes:
    """Draw one required figure: median and middle 80 % of the draws that complete, and the limit."""
    from matplotlib.ticker import LogLocator

    ax = _axes(made, ax)
    figure, table = requirement.figure, made.table
    shown, values = table["completed"], table["value"] * drawn_factor(made.axis)
    if f"{figure}-low" in table:
        ax.fill_between(
            values, table[f"{figure}-low"].where(shown), table[f"{figure}-high"].where(shown), **BAND
        )
    ax.plot(values, table[figure].where(shown), marker=".", **SIMULATED)
    ax.axhline(requirement.limit, **LIMIT)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.yaxis.set_major_formatter(lambda value, _: requirement.write(value))
    ax.yaxis.set_minor_formatter("")
    return finish(ax, title=str(requirement), x=made.axis.name, y="")


def plot_sizing(made: Sizing) -> Figure:
    """Draw the share of draws, and each required figure, side by side."""
    from matplotlib.figure import Figure

    bounded = [r for r in made.requirements if r.figure != "outcome"]
    figure = Figure(figsize=(4.6 * (1 + len(bounded)), 3.8), layout="constrained")
    panels = figure.subplots(1, 1 + len(bounded), squeeze=False)[0]
    plot_met(made, ax=panels[0])
    for requirement, ax in zip(bounded, panels[1:], strict=True):
        plot_required(made, requirement, ax=ax)
    figure.suptitle(made.reason, fontsize=9)
    return figure


def save_sizing(made: Sizing, path: Path) -> None:
    """Write `plot_sizing` as a picture; the format follows the file's ending.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    save_picture(plot_sizing(made), path)


def _axes(made: Sizing, ax: Axes | None) -> Axes:
    """Return Axes whose x side is the value that was looked for, the answer marked."""
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    label_side(ax, "x", made.axis)
    ends = made.table["value"].iloc[[0, -1]] * drawn_factor(made.axis)
    if len(made.table) > 1:
        ax.set_xlim(*ends)
    if made.value is not None:
        ax.axvline(made.value * drawn_factor(made.axis), **(LIMIT | {"color": "black"}))
    return ax
