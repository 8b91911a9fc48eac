"""Pictures of one prediction, and of measured runs beside it: dirty memory over time, downtime by part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.plot.curve import plot_unique_dirty
from migsim.plot.picture import save_picture
from migsim.plot.style import LIMIT, MEASURED, PARTS, SIMULATED, axes_or_new, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.results import MigrationResult
    from migsim.study.predict import Prediction

__all__ = ["plot_downtime_parts", "plot_prediction", "plot_remaining", "plot_rounds_left", "save_prediction"]

MIB = 2**20


def plot_remaining(
    predicted: MigrationResult,
    measured: Sequence[MigrationResult] = (),
    *,
    ax: Axes | None = None,
    label: str = "predicted",
) -> Axes:
    """Draw dirty memory over time (`ram.remaining`), predicted as a line and measured as markers.

    The numbers are the results' `timeline`: `t_s` and `ram.remaining`.
    """
    ax = axes_or_new(ax)
    for k, run in enumerate(measured):
        samples = run.timeline[run.timeline["ram.remaining"].notna()]
        style = MEASURED | {"markersize": 2, "alpha": 0.5}
        once = "measured" if k == 0 else None
        ax.plot(samples["t_s"], samples["ram.remaining"] / MIB, **style, label=once)
    samples = predicted.timeline
    ax.plot(samples["t_s"], samples["ram.remaining"] / MIB, **SIMULATED, label=label)
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Dirty memory", x="time since migrate [s]", y="ram.remaining [MiB]")


def plot_downtime_parts(
    predicted: MigrationResult, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw the parts of the downtime as stacked bars: first the prediction's, then each run's."""
    ax = axes_or_new(ax)
    runs = [predicted, *measured]
    found = {part for run in runs for part in run.downtime_parts_ms}
    colours = {part: colour for part, colour in PARTS.items() if part in found}
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


def plot_rounds_left(prediction: Prediction, *, ax: Axes | None = None) -> Axes:
    """Draw what each round of a migration leaves dirty that does not converge, beside the switchover threshold.

    The points are the example run's rounds (`iterations`), the line is the median threshold of the draws.
    """
    from matplotlib.ticker import ScalarFormatter

    ax = axes_or_new(ax)
    rounds = prediction.example_run.iterations.iloc[1:]
    ax.plot(
        range(2, len(rounds) + 2),
        rounds["remaining_bytes_after_sync"] / MIB,
        marker="o",
        markersize=3,
        label="dirty after the sync, example run",
        color=SIMULATED["color"],
    )
    threshold = prediction.medians.get("threshold")
    if threshold:
        ax.axhline(threshold / MIB, **LIMIT, label=f"switchover threshold, {threshold / MIB:.3g} MiB")
    ax.set_yscale("log")
    for axis_formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis_formatter(ScalarFormatter())
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Left after each round", x="bitmap sync", y="MiB")


def plot_prediction(prediction: Prediction, measured: Sequence[MigrationResult] = ()) -> Figure:
    """Draw the unique-dirty curve, dirty memory over time and the parts of the downtime side by side.

    Where the migration does not converge there is no downtime: the third panel shows what each round leaves.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    run = prediction.example_run
    if prediction.fit is not None:
        plot_unique_dirty(prediction.fit, ax=left)
    else:
        left.set_axis_off()
    plot_remaining(run, measured, ax=middle, label="example run")
    if prediction.outcome.status == "completed":
        plot_downtime_parts(run, measured, ax=right)
        _mark_downtime(prediction, right)
    else:
        plot_rounds_left(prediction, ax=right)
    word = "converges" if prediction.outcome.status == "completed" else "does not converge"
    verdict = f"{word} ({prediction.completed_fraction:.0%} of the draws complete)"
    figure.suptitle(f"{prediction.name} {verdict}. {prediction.outcome.reason}".strip(), fontsize=10)
    return figure


def _mark_downtime(prediction: Prediction, ax: Axes) -> None:
    """Mark the median downtime of the draws and its 80 % interval on the example run's bar."""
    median = prediction.medians["downtime"]
    low, high = prediction.intervals["downtime"]
    ax.errorbar(
        0,
        median,
        yerr=[[max(median - low, 0.0)], [max(high - median, 0.0)]],
        fmt="o",
        color="black",
        markersize=4,
        capsize=4,
        label="median, 80 % interval",
    )
    ax.set_xticks(ax.get_xticks(), ["example run", *[t.get_text() for t in ax.get_xticklabels()][1:]])
    ax.set_xlim(-2.5, max(ax.get_xlim()[1], 0.8))
    ax.legend(frameon=False, fontsize=8)


def save_prediction(prediction: Prediction, path: Path, measured: Sequence[MigrationResult] = ()) -> None:
    """Write the picture of `plot_prediction` to a file; the file's ending chooses the format.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    save_picture(plot_prediction(prediction, measured), path)
