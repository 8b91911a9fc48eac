"""Throttling: how hard, what it leaves of the guest's work, and what it does to the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, finish
from migsim.results import MigrationResult
from migsim.study.guest_progress import guest_progress

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.study.predict import Prediction

__all__ = ["ROUNDS", "plot_guest_work", "plot_rounds", "plot_throttle"]

Floats = NDArray[np.float64]

NAME = "cpu-throttle-percentage"
ROUNDS = {
    "sync_s": ("Bitmap syncs", "length of the sync [s]", 1.0),
    "remaining_bytes_after_sync": ("Dirty memory after each sync", "ram.remaining [MB]", 1e6),
    "mbps": ("Bandwidth that QEMU reckons with", "ram.mbps [Mbit/s]", 1.0),
}
"""Columns of `iterations` that are drawn: title, label, and what one of the unit is."""

SMALL = MEASURED | {"markersize": 3, "alpha": 0.6}


def plot_throttle(
    predicted: Prediction, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw auto-converge's `cpu-throttle-percentage` over time.

    The line's steps are the medians of the draws, ``throttle-N``, its band the middle 80 % of when each began.
    Measured samples are drawn at every change and once a second.
    """
    ax = _axes(ax)
    steps = _steps(predicted)
    end = predicted.medians["total-time"] / 1000
    grid = np.unique(np.concatenate([np.linspace(0, end, 500), *steps[:, 1:]]))
    early, middle, late = (_at(grid, steps[:, 0], steps[:, k]) for k in (1, 2, 3))
    ax.fill_between(grid, late, early, step="post", **BAND)
    ax.step(grid, middle, where="post", **SIMULATED, label="predicted, middle 80 %")
    for k, run in enumerate(measured):
        ax.plot(*_thinned(run.timeline), **SMALL, label=_label(k, measured))
    ax.set_ylim(0, 100)
    ax.set_xlim(left=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return finish(ax, title="Throttling", x="time since migrate [s]", y=f"{NAME} [%]")


def plot_guest_work(
    predicted: Prediction, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw the work that the guest has done over time, in seconds at its own pace; dashed: were it not slowed.

    The numbers are `migsim.study.guest_progress.guest_progress`; the bar at the line's end is the middle 80 % of the
    draws.
    """
    ax = _axes(ax)
    line = guest_progress(predicted.result)
    end = float(line["t_s"].iloc[-1])
    ax.plot(line["t_s"], line["work_s"], **SIMULATED, label="predicted")
    if "guest-lost" in predicted.result.intervals:
        low, high = (end - lost / 1000 for lost in reversed(predicted.result.intervals["guest-lost"]))
        ax.plot(
            [end, end],
            [low, high],
            color=SIMULATED["color"],
            linewidth=6,
            alpha=0.4,
            label="middle 80 % at the end",
        )
    for k, run in enumerate(measured):
        said = guest_progress(run)
        ax.plot(said["t_s"], said["work_s"], **SMALL, label=_label(k, measured))
        end = max(end, float(said["t_s"].max()))
    ax.plot([0, end], [0, end], **LIMIT, label="not slowed")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return finish(ax, title="The guest's work", x="time since migrate [s]", y="work done [s]")


def plot_rounds(
    predicted: Prediction,
    measured: Sequence[MigrationResult] = (),
    curve: str = "sync_s",
    *,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a figure of every round over time.

    Parameters
    ----------
    predicted : Prediction
        The numbers of this picture are the `iterations` of its result and of the runs.
    measured : sequence of MigrationResult
    curve : str
        A key of `ROUNDS`. A sync under dirty-limit waits for the last sleeping vCPU.
    limit : float, optional
        Drawn as a dashed line, in the curve's unit.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _axes(ax)
    title, label, unit = ROUNDS[curve]
    rounds = predicted.result.iterations
    ax.plot(rounds["start_s"], rounds[curve] / unit, **SIMULATED, marker=".", label="predicted")
    for k, run in enumerate(measured):
        seen = run.iterations
        ax.plot(seen["start_s"], seen[curve] / unit, **SMALL, label=_label(k, measured))
    if limit is not None:
        ax.axhline(limit, **LIMIT)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title=title, x="time since migrate [s]", y=label)


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.figure().add_subplot()
    return ax


def _label(k: int, runs: Sequence[MigrationResult]) -> str | None:
    many = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"measured, {many}" if k == 0 else None


def _steps(predicted: Prediction) -> Floats:
    """Rows of percentage and 10th, 50th and 90th percentile of its first second, ascending; starts at 0 %."""
    names = {name for draw in predicted.draws for name in draw if name.startswith("throttle-")}
    rows = [[0.0, 0.0, 0.0, 0.0]]
    for percentage in sorted(int(name.removeprefix("throttle-")) for name in names):
        began = [d[f"throttle-{percentage}"] for d in predicted.draws if f"throttle-{percentage}" in d]
        if 2 * len(began) > len(predicted.draws):
            rows.append([percentage, *np.percentile(began, [10, 50, 90])])
    return np.array(rows)


def _at(grid: Floats, percentages: Floats, began_s: Floats) -> Floats:
    return np.array([percentages[began_s <= t].max() for t in grid])


def _thinned(timeline: pd.DataFrame) -> tuple[Floats, Floats]:
    """Times and percentages of the samples at every change and once a second."""
    if NAME not in timeline:
        return np.empty(0), np.empty(0)
    t_s, percentage = timeline.loc[timeline[NAME].notna(), ["t_s", NAME]].to_numpy(float).T
    kept = (np.diff(percentage, prepend=-1.0) != 0) | (np.diff(np.floor(t_s), prepend=-1.0) != 0)
    return t_s[kept], percentage[kept]
