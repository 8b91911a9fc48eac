"""Pictures of a sizing: each required figure, with its limit, against the setting that was searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migsim.plot.picture import save_picture
from migsim.plot.style import BAND, LIMIT, SIMULATED, axes_or_new, finish
from migsim.plot.sweep import drawn_factor, label_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.study.size.requirement import Requirement
    from migsim.study.size.search import Sizing

__all__ = ["plot_met", "plot_required", "plot_sizing", "save_sizing"]


def plot_met(sizing: Sizing, *, ax: Axes | None = None) -> Axes:
    """Draw the share of the draws that meets all requirements, and the confidence that was asked for.

    The numbers are the columns ``value`` and ``met`` of `sizing.table`.
    """
    ax = _value_axes(sizing, ax)
    table = sizing.table
    ax.plot(table["value"] * drawn_factor(sizing.axis), table["met"], marker=".", **SIMULATED)
    ax.axhline(sizing.confidence, **LIMIT)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return finish(ax, title="Draws that meet all requirements", x=sizing.axis.name, y="")


def plot_required(sizing: Sizing, requirement: Requirement, *, ax: Axes | None = None) -> Axes:
    """Draw one required figure: median and middle 80 % of the draws that complete, and the limit.

    The numbers are the figure's columns of `sizing.table`.
    """
    from matplotlib.ticker import LogLocator

    ax = _value_axes(sizing, ax)
    figure, table = requirement.figure, sizing.table
    completed, values = table["completed"], table["value"] * drawn_factor(sizing.axis)
    if f"{figure}-low" in table:
        low, high = (table[f"{figure}-{end}"].where(completed) for end in ("low", "high"))
        ax.fill_between(values, low, high, **BAND)
    ax.plot(values, table[figure].where(completed), marker=".", **SIMULATED)
    ax.axhline(requirement.limit, **LIMIT)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.yaxis.set_major_formatter(lambda value, _: requirement.format(value))
    ax.yaxis.set_minor_formatter("")
    return finish(ax, title=str(requirement), x=sizing.axis.name, y="")


def plot_sizing(sizing: Sizing) -> Figure:
    """Draw the share of the draws that meets all requirements, and each required figure, side by side."""
    from matplotlib.figure import Figure

    bounded = [requirement for requirement in sizing.requirements if requirement.figure != "outcome"]
    figure = Figure(figsize=(4.6 * (1 + len(bounded)), 3.8), layout="constrained")
    panels = figure.subplots(1, 1 + len(bounded), squeeze=False)[0]
    plot_met(sizing, ax=panels[0])
    for requirement, ax in zip(bounded, panels[1:], strict=True):
        plot_required(sizing, requirement, ax=ax)
    figure.suptitle(sizing.reason, fontsize=9)
    return figure


def save_sizing(sizing: Sizing, path: Path) -> None:
    """Write the picture of `plot_sizing` to a file; the file's ending chooses the format.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    save_picture(plot_sizing(sizing), path)


def _value_axes(sizing: Sizing, ax: Axes | None) -> Axes:
    """Return Axes whose x side is the setting that was searched, with a line at the value found."""
    ax = axes_or_new(ax)
    label_side(ax, "x", sizing.axis)
    ends = sizing.table["value"].iloc[[0, -1]] * drawn_factor(sizing.axis)
    if len(sizing.table) > 1:
        ax.set_xlim(*ends)
    if sizing.value is not None:
        ax.axvline(sizing.value * drawn_factor(sizing.axis), **(LIMIT | {"color": "black"}))
    return ax
