"""Pictures of one prediction, beside measurements where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.plot.curve import plot_unique_dirty
from migsim.plot.picture import save_picture
from migsim.plot.style import LIMIT, MEASURED, PARTS, SIMULATED, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.results import MigrationResult
    from migsim.study.predict import Prediction

__all__ = ["plot_downtime_parts", "plot_prediction", "plot_remaining", "save_prediction"]

MIB = 2**20


def plot_remaining(
    predicted: MigrationResult, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw dirty memory over time (`ram.remaining`), predicted as a line and measured as markers.

    The numbers are the results' `timeline`: `t_s` and `ram.remaining`.
    """
    ax = _axes(ax)
    for k, run in enumerate(measured):
        line = run.timeline
        line = line[line["ram.remaining"].notna()]
        style = MEASURED | {"markersize": 2, "alpha": 0.5}
        ax.plot(line["t_s"], line["ram.remaining"] / MIB, **style, label="measured" if k == 0 else None)
    line = predicted.timeline
    ax.plot(line["t_s"], line["ram.remaining"] / MIB, **SIMULATED, label="predicted")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Dirty memory", x="time since migrate [s]", y="ram.remaining [MiB]")


def plot_downtime_parts(
    predicted: MigrationResult, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw the parts of the downtime as stacked bars, the prediction first."""
    ax = _axes(ax)
    runs = [predicted, *measured]
    colours = {part: c for part, c in PARTS.items() if any(part in run.downtime_parts_ms for run in runs)}
    for x, run in enumerate(runs):
        bottom = 0.0
        for part, colour in colours.items():
            height = run.downtime_parts_ms.get(part, 0.0)
            ax.bar(x, height, bottom=bottom, color=colour, width=0.7, label=part if x == 0 else None)
            bottom += height
    limit = predicted.scenario.get("parameters", {}).get("downtime-limit")
    if limit:
        ax.axhline(limit, **LIMIT)
    ax.set_xticks(range(1 + len(measured)), ["predicted", *[f"run {k + 1}" for k in range(len(measured))]])
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Downtime, by part", x="", y="ms")


def plot_prediction(made: Prediction, measured: Sequence[MigrationResult] = ()) -> Figure:
    """Draw the guest's dirtying, the migration and its downtime side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    if made.fit is not None:
        plot_unique_dirty(made.fit, ax=left)
    plot_remaining(made.result, measured, ax=middle)
    plot_downtime_parts(made.result, measured, ax=right)
    figure.suptitle(f"{made.result.name} {made.result.outcome.status}".strip(), fontsize=10)
    return figure


def save_prediction(made: Prediction, path: Path, measured: Sequence[MigrationResult] = ()) -> None:
    """Write `plot_prediction` as a picture; the format follows the file's ending.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    figure = plot_prediction(made, measured)
    save_picture(figure, path)


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.figure().add_subplot()
    return ax
