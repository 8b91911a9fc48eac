"""Pictures of a sweep: verdict, total time, downtime or another figure against the settings that were varied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError, near_misses
from migsim.plot.picture import save_picture
from migsim.plot.style import BAND, SIMULATED, axes_or_new, finish
from migsim.units import format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.study.sweep.axis import Axis
    from migsim.study.sweep.run import Sweep

__all__ = ["VERDICTS", "drawn_factor", "label_side", "map_numbers", "plot_map", "plot_sweep", "save_sweep"]

VERDICTS = {"completed": "#6baed6", "not-converged": "#d62728", "error": "0.8"}
"""Colours of outcomes."""
_TICKS = {"x": 4, "y": 6}
"""Most ticks on each side, so that their labels do not overlap."""
_WIDE = 5.0
"""Colours are logarithmic where the largest value is more than this many times the smallest."""


def map_numbers(
    sweep: Sweep, figure: str, *, x: str, y: str, at: Mapping[str, Any] | None = None
) -> NDArray[Any]:
    """Return the numbers that `plot_map` draws: ``figure`` with a row for each value of `y`, a column for each of `x`.

    Parameters
    ----------
    sweep : Sweep
        A sweep over a grid.
    figure : str
        A variable of its dataset.
    x, y : str
        Two axes of the sweep.
    at : mapping, optional
        Values of the other axes; by default the first of each.

    Raises
    ------
    ParameterError
        When the sweep has no such name, or did not compute such a value.
    """
    data = sweep.dataset
    for name in (x, y, figure, *(at or {})):
        if name not in data:
            raise ParameterError(
                f"The sweep has no axis or figure {name!r}.",
                f"It has {', '.join(map(str, (*data.dims, *data.data_vars)))}.",
                near_misses(name, map(str, data.variables)) or "Choose one of them.",
            )
    values = data[figure]
    for name in map(str, data.dims):
        if name in (x, y):
            continue
        wanted = (at or {}).get(name, data[name].values[0])
        places = np.flatnonzero(data[name].values == wanted)
        if not len(places):
            raise ParameterError(
                f"The sweep has no cell with {name} = {wanted!r}.",
                "A map shows only cells that were computed.",
                f"Choose one of {', '.join(map(str, data[name].values[:8]))}.",
            )
        values = values.isel({name: int(places[0])})
    return np.asarray(values.transpose(y, x).values)


def plot_map(
    sweep: Sweep,
    figure: str = "downtime",
    *,
    x: str | None = None,
    y: str | None = None,
    at: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a figure, or ``outcome``, as a map over two axes of the sweep.

    A sweep with one axis is drawn as a line with its 80 % band, and one over samples as a point for each sample. Cells
    that do not converge, and errors, have their own colours. The numbers of a map are those of `map_numbers`.

    Parameters
    ----------
    sweep : Sweep
    figure : str
        ``outcome``, ``completed-fraction``, ``total-time``, ``downtime`` or another variable of the dataset.
    x, y : str, optional
        By default the first two axes of the sweep.
    at : mapping, optional
        Values of the other axes; by default the first of each.
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    names = [axis.name for axis in sweep.axes]
    by_name = {axis.name: axis for axis in sweep.axes}
    if len(names) == 1:
        return _plot_line(sweep, figure, sweep.axes[0], ax)
    x = x or next(name for name in names if name != y)
    y = y or next(name for name in names if name != x)
    if "sample" in sweep.dataset.dims:
        return _plot_samples(sweep, figure, by_name[x], by_name[y], ax)
    values = map_numbers(sweep, figure, x=x, y=y, at=at)
    outcome = map_numbers(sweep, "outcome", x=x, y=y, at=at)
    edges = [np.arange(count + 1) - 0.5 for count in reversed(values.shape)]
    _fill_verdicts(ax, edges, outcome, only=None if figure == "outcome" else ("not-converged", "error"))
    if figure != "outcome":
        shown = np.ma.masked_invalid(np.where(outcome == "completed", values, np.nan))
        _add_colour_bar(ax, ax.pcolormesh(*edges, shown, norm=_norm(shown), cmap="viridis"), sweep, figure)
    for axis, side in ((by_name[x], ax.xaxis), (by_name[y], ax.yaxis)):
        stride = max(-(-(axis.count - 1) // (_TICKS[side.axis_name] - 1)), 1)
        places = range(0, axis.count, stride)
        side.set_ticks(places, [format_value(axis.values[place], axis.unit) for place in places])
    fixed = [
        f"{axis.name} = {format_value((at or {}).get(axis.name, axis.values[0]), axis.unit)}"
        for axis in sweep.axes
        if axis.name not in (x, y)
    ]
    finish(ax, title=", ".join([figure, *fixed]), x=x, y=y)
    ax.grid(visible=False)
    return ax


def plot_sweep(sweep: Sweep) -> Figure:
    """Draw verdict, total time and downtime side by side, over the first two axes of the sweep."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4), layout="constrained")
    as_fraction = "completed-fraction" in sweep.dataset and len(sweep.axes) == 1
    verdict = "completed-fraction" if as_fraction else "outcome"
    for name, ax in zip((verdict, "total-time", "downtime"), figure.subplots(1, 3), strict=True):
        plot_map(sweep, name, ax=ax)
    return figure


def save_sweep(sweep: Sweep, path: Path) -> None:
    """Write the picture of `plot_sweep` to a file; the file's ending chooses the format.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    save_picture(plot_sweep(sweep), path)


def _plot_line(sweep: Sweep, figure: str, axis: Axis, ax: Axes) -> Axes:
    """Draw a figure against the only axis of a sweep."""
    data = sweep.dataset
    outcome = data["outcome"].values
    settings: NDArray[Any] = data[axis.name].values
    numeric = axis.kind != "choice"
    places = settings * drawn_factor(axis) if numeric else np.arange(len(settings))
    order = np.argsort(places)
    if figure != "outcome":
        shown = (outcome == "completed") | (figure == "completed-fraction")
        values = np.where(shown, data[figure].values, np.nan)[order]
        if f"{figure}-low" in data:
            low, high = (np.where(shown, data[f"{figure}-{end}"].values, np.nan) for end in ("low", "high"))
            ax.fill_between(places[order], low[order], high[order], **BAND)
        ax.plot(places[order], values, marker=".", **SIMULATED)
        ax.set_ylim(bottom=0)
        _format_ticks(ax.yaxis, _unit(sweep, figure))
    else:
        ax.set_yticks([])
    marked = _marked_verdicts(outcome, figure)
    for verdict, colour in marked.items():
        chosen = outcome == verdict
        ax.plot(places[chosen], np.zeros(chosen.sum()), "s", color=colour, markersize=5, clip_on=False)
    _add_legend(ax, marked)
    if numeric:
        label_side(ax, "x", axis)
    else:
        ax.set_xticks(places, [format_value(setting, axis.unit) for setting in settings])
    return finish(ax, title=figure, x=axis.name, y="" if figure == "outcome" else figure)


def _plot_samples(sweep: Sweep, figure: str, x: Axis, y: Axis, ax: Axes) -> Axes:
    """Draw a point for each sample of a sampled sweep."""
    data = sweep.dataset
    outcome = data["outcome"].values
    x_values, y_values = (
        np.asarray(data[axis.name].values).astype(float) * drawn_factor(axis) for axis in (x, y)
    )
    marked = _marked_verdicts(outcome, figure)
    for verdict, colour in marked.items():
        chosen = outcome == verdict
        marker = "x" if verdict == "error" else "o"
        ax.scatter(x_values[chosen], y_values[chosen], s=12, color=colour, marker=marker)
    if figure != "outcome":
        chosen = outcome == "completed"
        values = np.ma.masked_invalid(data[figure].values[chosen])
        points = ax.scatter(
            x_values[chosen], y_values[chosen], c=values, s=12, norm=_norm(values), cmap="viridis"
        )
        _add_colour_bar(ax, points, sweep, figure)
    _add_legend(ax, marked)
    label_side(ax, "x", x)
    label_side(ax, "y", y)
    return finish(ax, title=f"{figure}, {len(outcome):,} samples", x=x.name, y=y.name)


def _marked_verdicts(outcome: NDArray[Any], figure: str) -> dict[str, str]:
    """Return colours of the verdicts in `outcome` that have no value of `figure` to draw."""
    return {
        verdict: colour
        for verdict, colour in VERDICTS.items()
        if np.any(outcome == verdict) and (verdict != "completed" or figure == "outcome")
    }


def drawn_factor(axis: Axis) -> float:
    """Return the factor from an axis's values to those drawn: rates are drawn in bits, for round logarithmic ticks."""
    return 8.0 if axis.unit == "bytes/s" else 1.0


def label_side(ax: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    """Set the scale and the tick labels of one side of a plot, for a numeric axis of a sweep."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    side = ax.xaxis if which == "x" else ax.yaxis
    if axis.log:
        ax.set(**{f"{which}scale": "log"})
        side.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        side.set_minor_locator(NullLocator())
    else:
        side.set_major_locator(MaxNLocator(_TICKS[which]))
    factor = drawn_factor(axis)
    side.set_major_formatter(lambda value, _: format_value(value / factor, axis.unit))


def _format_ticks(side: Any, unit: str) -> None:
    """Write ticks with their unit."""
    if unit in ("ms", "bytes"):
        side.set_major_formatter(lambda value, _: format_value(value, unit))


def _fill_verdicts(ax: Axes, edges: list[Any], outcome: NDArray[Any], only: tuple[str, ...] | None) -> None:
    """Fill the cells of a map with the colours of their verdicts: all cells, or those with verdicts in `only`."""
    from matplotlib.colors import ListedColormap

    shown = {
        verdict: colour
        for verdict, colour in VERDICTS.items()
        if np.any(outcome == verdict) and (only is None or verdict in only)
    }
    for verdict, colour in shown.items():
        mask = np.ma.masked_where(outcome != verdict, np.ones(outcome.shape))
        ax.pcolormesh(*edges, mask, cmap=ListedColormap([colour]))
    _add_legend(ax, shown)


def _add_legend(ax: Axes, shown: Mapping[str, str]) -> None:
    """Name the colours below the axes, where the legend covers nothing."""
    from matplotlib.patches import Patch

    if shown:
        handles = [Patch(color=colour, label=verdict) for verdict, colour in shown.items()]
        ax.legend(
            handles=handles,
            fontsize=8,
            frameon=False,
            borderaxespad=0.0,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.16),
            ncols=3,
        )


def _add_colour_bar(ax: Axes, drawn: Any, sweep: Sweep, figure: str) -> None:
    if ax.figure is None or not np.ma.count(drawn.get_array()):
        return
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator

    bar = ax.figure.colorbar(drawn, ax=ax)
    if isinstance(drawn.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    _format_ticks(bar.ax.yaxis, _unit(sweep, figure))
    bar.ax.yaxis.set_minor_formatter("")


def _norm(values: Any) -> Any:
    """Return a logarithmic colour scale where the values differ by more than `_WIDE`, else None: a linear one."""
    from matplotlib.colors import LogNorm

    if np.ma.count(values) and values.min() > 0 and values.max() / values.min() > _WIDE:
        return LogNorm(values.min(), values.max())
    return None


def _unit(sweep: Sweep, figure: str) -> str:
    return str(sweep.dataset[figure].attrs.get("units", ""))
