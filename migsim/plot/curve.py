"""The unique-dirty curve: what was traced, and the classes fitted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from migsim.plot.style import MEASURED, SIMULATED, finish
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from migsim.calibrate.workload.fit import WorkloadFit

__all__ = ["plot_unique_dirty", "save_fit"]


def plot_unique_dirty(fit: WorkloadFit, *, ax: Axes | None = None) -> Axes:
    """Draw unique dirty memory against window length: traced points and the fit.

    Parameters
    ----------
    fit : WorkloadFit
        Its `residuals` are the numbers of this picture.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    s = fit.spectrum
    mib = PAGE_BYTES / 2**20
    t = np.geomspace(s.window_s.min() / 2, s.window_s.max() * 1.2, 200)
    ax.plot(t, s.unique_pages(t) * mib, **SIMULATED, label="fitted classes")
    ax.plot(s.window_s, s.measured_pages * mib, **MEASURED, label=f"traced ({fit.mode})")
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    finish(ax, title="What the guest dirties", x="window [s of guest time]", y="unique dirty memory [MiB]")
    return ax


def save_fit(fit: WorkloadFit, path: Path) -> None:
    """Write `plot_unique_dirty` as a picture; the format follows the file's ending.

    Raises
    ------
    HostError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure

    from migsim.plot.picture import save_picture

    figure = Figure(figsize=(6, 4), layout="constrained")
    plot_unique_dirty(fit, ax=figure.subplots())
    save_picture(figure, path)
