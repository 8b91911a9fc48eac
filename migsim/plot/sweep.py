"""Pictures of a sweep: verdict, total time and downtime over what was varied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError, near_misses
from migsim.plot.picture import save_picture
from migsim.plot.style import BAND, SIMULATED, finish
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
_WIDE = 5.0


def map_numbers(
    made: Sweep, figure: str, *, x: str, y: str, at: Mapping[str, Any] | None = None
) -> NDArray[Any]:
    """Return the numbers that `plot_map` draws: ``figure`` with a row a value of `y`, a column a value of `x`.

    Parameters
    ----------
    made : Sweep
        A grid.
    figure : str
        A variable of its dataset.
    x, y : str
        Two things that were varied.
    at : mapping, optional
        Values of the others; by default their first.

    Raises
    ------
    ParameterError
        For a name that the sweep has not, or a value that was not computed.
    """
    data = made.dataset
    for name in (x, y, figure, *(at or {})):
        if name not in data:
            raise ParameterError(
                f"The sweep has no {name!r}.",
                f"It has {', '.join(map(str, (*data.dims, *data.data_vars)))}.",
                near_misses(name, map(str, data.variables)) or "Choose one of them.",
            )
    chosen = data[figure]
    for name in map(str, data.dims):
        if name in (x, y):
            continue
        wanted = (at or {}).get(name, data[name].values[0])
        place = np.flatnonzero(data[name].values == wanted)
        if not len(place):
            raise ParameterError(
                f"{name} = {wanted!r} is not in the sweep.",
                "A map shows cells that were computed.",
                f"Choose one of {', '.join(map(str, data[name].values[:8]))}.",
            )
        chosen = chosen.isel({name: int(place[0])})
    return np.asarray(chosen.transpose(y, x).values)


def plot_map(
    made: Sweep,
    figure: str = "downtime",
    *,
    x: str | None = None,
    y: str | None = None,
    at: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a figure, or ``outcome``, over two things that were varied; over one, a line with its 80 % band.

    Cells that do not converge, and errors, have their own colours. The numbers are `map_numbers`'; of a sampled sweep
    each sample is a point.

    Parameters
    ----------
    made : Sweep
    figure : str
        ``outcome``, ``completed-fraction``, ``total-time``, ``downtime`` or another variable.
    x, y : str, optional
        By default the first two that were varied.
    at : mapping, optional
        Values of the others; by default their first.
    """
    ax = _axes(ax)
    names = [axis.name for axis in made.axes]
    by_name = {axis.name: axis for axis in made.axes}
    if len(names) == 1:
        return _line(made, figure, made.axes[0], ax)
    x = x or next(n for n in names if n != y)
    y = y or next(n for n in names if n != x)
    if "sample" in made.dataset.dims:
        return _points(made, figure, by_name[x], by_name[y], ax)
    values = map_numbers(made, figure, x=x, y=y, at=at)
    outcome = map_numbers(made, "outcome", x=x, y=y, at=at)
    edges = [np.arange(n + 1) - 0.5 for n in reversed(values.shape)]
    _verdicts(ax, edges, outcome, only=None if figure == "outcome" else ("not-converged", "error"))
    if figure != "outcome":
        shown = np.ma.masked_invalid(np.where(outcome == "completed", values, np.nan))
        _colours(ax, ax.pcolormesh(*edges, shown, norm=_norm(shown), cmap="viridis"), made, figure)
    for axis, side in ((by_name[x], ax.xaxis), (by_name[y], ax.yaxis)):
        ticks = min(_TICKS[side.axis_name], axis.count)
        places = np.unique(np.linspace(0, axis.count - 1, ticks).round().astype(int))
        side.set_ticks(places, [format_value(axis.values[p], axis.unit) for p in places])
    fixed = [
        f"{a.name} = {format_value((at or {}).get(a.name, a.values[0]), a.unit)}"
        for a in made.axes
        if a.name not in (x, y)
    ]
    finish(ax, title=", ".join([figure, *fixed]), x=x, y=y)
    ax.grid(visible=False)
    return ax


def plot_sweep(made: Sweep) -> Figure:
    """Draw verdict, total time and downtime side by side, over the first two things that were varied."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4), layout="constrained")
    verdict = (
        "completed-fraction" if "completed-fraction" in made.dataset and len(made.axes) == 1 else "outcome"
    )
    for name, ax in zip((verdict, "total-time", "downtime"), figure.subplots(1, 3), strict=True):
        plot_map(made, name, ax=ax)
    return figure


def save_sweep(made: Sweep, path: Path) -> None:
    """Write `plot_sweep` as a picture; the format follows the file's ending.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    save_picture(plot_sweep(made), path)


def _line(made: Sweep, figure: str, axis: Axis, ax: Axes) -> Axes:
    data = made.dataset
    outcome = data["outcome"].values
    along: NDArray[Any] = data[axis.name].values
    numeric = axis.kind != "choice"
    at = along * drawn_factor(axis) if numeric else np.arange(len(along))
    order = np.argsort(at)
    if figure != "outcome":
        counted = (outcome == "completed") | (figure == "completed-fraction")
        values = np.where(counted, data[figure].values, np.nan)[order]
        if f"{figure}-low" in data:
            low, high = (np.where(counted, data[f"{figure}-{end}"].values, np.nan) for end in ("low", "high"))
            ax.fill_between(at[order], low[order], high[order], **BAND)
        ax.plot(at[order], values, marker=".", **SIMULATED)
        ax.set_ylim(bottom=0)
        _format(ax.yaxis, _unit(made, figure))
    else:
        ax.set_yticks([])
    left = {
        w: c
        for w, c in VERDICTS.items()
        if np.any(outcome == w) and (w != "completed" or figure == "outcome")
    }
    for word, colour in left.items():
        chosen = outcome == word
        ax.plot(at[chosen], np.zeros(chosen.sum()), "s", color=colour, markersize=5, clip_on=False)
    _legend(ax, left)
    if numeric:
        label_side(ax, "x", axis)
    else:
        ax.set_xticks(at, [format_value(v, axis.unit) for v in along])
    return finish(ax, title=figure, x=axis.name, y="" if figure == "outcome" else figure)


def _points(made: Sweep, figure: str, x: Axis, y: Axis, ax: Axes) -> Axes:
    data = made.dataset
    outcome = data["outcome"].values
    across, up = (np.asarray(data[a.name].values).astype(float) * drawn_factor(a) for a in (x, y))
    others = {
        w: c
        for w, c in VERDICTS.items()
        if np.any(outcome == w) and (w != "completed" or figure == "outcome")
    }
    for word, colour in others.items():
        chosen = outcome == word
        ax.scatter(across[chosen], up[chosen], s=12, color=colour, marker="x" if word == "error" else "o")
    if figure != "outcome":
        done = outcome == "completed"
        values = np.ma.masked_invalid(data[figure].values[done])
        points = ax.scatter(across[done], up[done], c=values, s=12, norm=_norm(values), cmap="viridis")
        _colours(ax, points, made, figure)
    _legend(ax, others)
    label_side(ax, "x", x)
    label_side(ax, "y", y)
    return finish(ax, title=f"{figure}, {len(outcome):,} samples", x=x.name, y=y.name)


def drawn_factor(axis: Axis) -> float:
    """Return the factor on an axis's values: rates are drawn in bits, so that a logarithmic axis has round ticks."""
    return 8.0 if axis.unit == "bytes/s" else 1.0


def label_side(ax: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    """Scale and label one side of a numeric plot."""
    from matplotlib.ticker import LogLocator, NullLocator

    side = ax.xaxis if which == "x" else ax.yaxis
    if axis.log:
        ax.set(**{f"{which}scale": "log"})
        side.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        side.set_minor_locator(NullLocator())
    factor = drawn_factor(axis)
    side.set_major_formatter(lambda value, _: format_value(value / factor, axis.unit))


def _format(side: Any, unit: str) -> None:
    """Write ticks with their unit."""
    if unit in ("ms", "bytes"):
        side.set_major_formatter(lambda value, _: format_value(value, unit))


def _verdicts(ax: Axes, edges: list[Any], outcome: NDArray[Any], only: tuple[str, ...] | None) -> None:
    from matplotlib.colors import ListedColormap

    shown = {w: c for w, c in VERDICTS.items() if np.any(outcome == w) and (only is None or w in only)}
    for word, colour in shown.items():
        mask = np.ma.masked_where(outcome != word, np.ones(outcome.shape))
        ax.pcolormesh(*edges, mask, cmap=ListedColormap([colour]))
    if shown:
        _legend(ax, shown)


def _legend(ax: Axes, shown: Mapping[str, str]) -> None:
    """Name the colours below the axes, where they hide nothing."""
    from matplotlib.patches import Patch

    if shown:
        handles = [Patch(color=colour, label=word) for word, colour in shown.items()]
        ax.legend(
            handles=handles,
            fontsize=8,
            frameon=False,
            borderaxespad=0.0,
            loc="upper left",
            bbox_to_anchor=(0.0, -0.16),
            ncols=3,
        )


def _colours(ax: Axes, drawn: Any, made: Sweep, figure: str) -> None:
    if ax.figure is None or not np.ma.count(drawn.get_array()):
        return
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator

    bar = ax.figure.colorbar(drawn, ax=ax)
    if isinstance(drawn.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    _format(bar.ax.yaxis, _unit(made, figure))
    bar.ax.yaxis.set_minor_formatter("")


def _norm(values: Any) -> Any:
    """Colours by ratio where the values differ much."""
    from matplotlib.colors import LogNorm

    if np.ma.count(values) and values.min() > 0 and values.max() / values.min() > _WIDE:
        return LogNorm(values.min(), values.max())
    return None


def _unit(made: Sweep, figure: str) -> str:
    return str(made.dataset[figure].attrs.get("units", ""))


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.figure().add_subplot()
    return ax
