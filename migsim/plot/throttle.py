"""Pictures of throttled migrations: throttle percentage, work of the guest, and figures of each round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.intervals import low_median_high
from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, axes_or_new, finish
from migsim.results import MigrationResult
from migsim.study.guest_progress import guest_progress

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.study.predict import Prediction

__all__ = ["ROUNDS", "plot_guest_work", "plot_rounds", "plot_throttle"]

Floats = NDArray[np.float64]

NAME = "cpu-throttle-percentage"
"""Field of `query-migrate` that `plot_throttle` draws."""

ROUNDS = {
    "sync_s": ("Bitmap syncs", "length of the sync [s]", 1.0),
    "remaining_bytes_after_sync": ("Dirty memory after each sync", "ram.remaining [MB]", 1e6),
    "mbps": ("Bandwidth as QEMU estimates it", "ram.mbps [Mbit/s]", 1.0),
}
"""Columns of `iterations` that can be drawn: title, label, and the label's unit in units of the column."""

SMALL = MEASURED | {"markersize": 3, "alpha": 0.6}
"""Style of measured points that are many."""


def plot_throttle(
    predicted: Prediction, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw auto-converge's `cpu-throttle-percentage` over time.

    Each step of the line is at the median time of the draws (``throttle-N``), its band the middle 80 % of these times.
    Measured samples are drawn at every change and once a second.
    """
    ax = axes_or_new(ax)
    steps = _throttle_steps(predicted)
    end_s = predicted.medians["total-time"] / 1000
    grid_s = np.unique(np.concatenate([np.linspace(0, end_s, 500), *steps[:, 1:]]))
    early, middle, late = (_percentage_at(grid_s, steps[:, 0], steps[:, k]) for k in (1, 2, 3))
    ax.fill_between(grid_s, late, early, step="post", **BAND)
    ax.step(grid_s, middle, where="post", **SIMULATED, label="predicted, middle 80 %")
    for k, run in enumerate(measured):
        ax.plot(*_thin_samples(run.timeline), **SMALL, label=_run_label(k, measured))
    ax.set_ylim(0, 100)
    ax.set_xlim(left=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return finish(ax, title="Throttling", x="time since migrate [s]", y=f"{NAME} [%]")


def plot_guest_work(
    predicted: Prediction, measured: Sequence[MigrationResult] = (), *, ax: Axes | None = None
) -> Axes:
    """Draw the work that the guest has done over time, in seconds at its usual pace; dashed: an undisturbed guest.

    The numbers are those of `migsim.study.guest_progress.guest_progress`. The bar at the end of the line is the middle
    80 % of the draws.
    """
    ax = axes_or_new(ax)
    progress = guest_progress(predicted.example_run)
    end_s = float(progress["t_s"].iloc[-1])
    ax.plot(progress["t_s"], progress["work_s"], **SIMULATED, label="predicted")
    if "guest-lost" in predicted.intervals:
        low, high = (end_s - lost / 1000 for lost in reversed(predicted.intervals["guest-lost"]))
        ax.plot(
            [end_s, end_s],
            [low, high],
            color=SIMULATED["color"],
            linewidth=6,
            alpha=0.4,
            label="middle 80 % at the end",
        )
    for k, run in enumerate(measured):
        reported = guest_progress(run)
        ax.plot(reported["t_s"], reported["work_s"], **SMALL, label=_run_label(k, measured))
        end_s = max(end_s, float(reported["t_s"].max()))
    ax.plot([0, end_s], [0, end_s], **LIMIT, label="undisturbed")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return finish(
        ax, title="Work done by the guest", x="time since migrate [s]", y="work [s at its usual pace]"
    )


def plot_rounds(
    predicted: Prediction,
    measured: Sequence[MigrationResult] = (),
    curve: str = "sync_s",
    *,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one figure of every round against the round's start.

    Parameters
    ----------
    predicted : Prediction
        The numbers of this picture are the `iterations` of its result and of the runs.
    measured : sequence of MigrationResult
    curve : str
        A key of `ROUNDS`. With dirty-limit a sync waits for the last vCPU that sleeps.
    limit : float, optional
        Value of a dashed horizontal line, in the unit of the axis.
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    title, label, unit = ROUNDS[curve]
    rounds = predicted.example_run.iterations
    ax.plot(rounds["start_s"], rounds[curve] / unit, **SIMULATED, marker=".", label="predicted")
    for k, run in enumerate(measured):
        measured_rounds = run.iterations
        y = measured_rounds[curve] / unit
        ax.plot(measured_rounds["start_s"], y, **SMALL, label=_run_label(k, measured))
    if limit is not None:
        ax.axhline(limit, **LIMIT)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title=title, x="time since migrate [s]", y=label)


def _run_label(k: int, runs: Sequence[MigrationResult]) -> str | None:
    """Legend of run number `k`: only the first run has one, for all of them."""
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"measured, {count}" if k == 0 else None


def _throttle_steps(predicted: Prediction) -> Floats:
    """Return a row for each throttle percentage, ascending from 0 %: its 10th, 50th and 90th percentile of start times.

    Steps that less than half of the draws reach are left out.
    """
    names = {name for draw in predicted.draws for name in draw if name.startswith("throttle-")}
    rows = [[0.0, 0.0, 0.0, 0.0]]
    for percentage in sorted(int(name.removeprefix("throttle-")) for name in names):
        key = f"throttle-{percentage}"
        starts_s = [draw[key] for draw in predicted.draws if key in draw]
        if 2 * len(starts_s) > len(predicted.draws):
            rows.append([percentage, *low_median_high(starts_s)])
    return np.array(rows)


def _percentage_at(times_s: Floats, percentages: Floats, starts_s: Floats) -> Floats:
    return np.array([percentages[starts_s <= time_s].max() for time_s in times_s])


def _thin_samples(timeline: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return times and percentages of the samples at every change and once a second."""
    if NAME not in timeline:
        return np.empty(0), np.empty(0)
    t_s, percentage = timeline.loc[timeline[NAME].notna(), ["t_s", NAME]].to_numpy(float).T
    kept = (np.diff(percentage, prepend=-1.0) != 0) | (np.diff(np.floor(t_s), prepend=-1.0) != 0)
    return t_s[kept], percentage[kept]
