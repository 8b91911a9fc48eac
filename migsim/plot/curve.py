"""Picture of the unique-dirty curve: traced points, and the page classes fitted to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from migsim.plot.style import MEASURED, SIMULATED, axes_or_new, finish
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from migsim.calibrate.workload.fit import WorkloadFit

__all__ = ["plot_unique_dirty", "save_fit"]


def plot_unique_dirty(fit: WorkloadFit, *, ax: Axes | None = None) -> Axes:
    """Draw unique dirty memory against the length of the window: traced points and the fit.

    Parameters
    ----------
    fit : WorkloadFit
        Its `residuals` are the numbers of this picture.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    spectrum = fit.spectrum
    mib_per_page = PAGE_BYTES / 2**20
    grid_s = np.geomspace(spectrum.window_s.min() / 2, spectrum.window_s.max() * 1.2, 200)
    ax.plot(grid_s, spectrum.unique_pages(grid_s) * mib_per_page, **SIMULATED, label="fitted classes")
    measured_mib = spectrum.measured_pages * mib_per_page
    ax.plot(spectrum.window_s, measured_mib, **MEASURED, label=f"traced ({fit.mode})")
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    return finish(
        ax,
        title="Memory that the guest dirties",
        x="window [s of guest time]",
        y="unique dirty memory [MiB]",
    )


def save_fit(fit: WorkloadFit, path: Path) -> None:
    """Write the picture of `plot_unique_dirty` to a file; the file's ending chooses the format.

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
