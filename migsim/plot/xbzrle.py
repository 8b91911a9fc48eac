"""Picture of XBZRLE by cache size: hit rate or bytes sent, predicted and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, axes_or_new, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_cache_sizes"]

MIB = 2**20
CURVES = {
    "hit_rate": ("Hit rate of the XBZRLE cache", "share of the pages looked up"),
    "transferred_bytes": ("Bytes sent until the end or the deadline", "ram.transferred [MiB]"),
}
"""Columns that can be drawn: title and label."""


def plot_cache_sizes(
    predicted: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    curve: Literal["hit_rate", "transferred_bytes"] = "hit_rate",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the hit rate or the bytes sent against `xbzrle-cache-size`.

    Shaded: sizes with which the migration is predicted not to converge. Hollow markers: runs that did not converge.

    Parameters
    ----------
    predicted : pandas.DataFrame
        As `migsim.study.xbzrle_sizes.predicted_sizes` returns it: the numbers of this picture.
    measured : pandas.DataFrame, optional
        As `migsim.study.xbzrle_sizes.measured_sizes` returns it.
    curve : {"hit_rate", "transferred_bytes"}
    ax : matplotlib.axes.Axes, optional
    """
    ax = axes_or_new(ax)
    unit = MIB if curve == "transferred_bytes" else 1.0
    grid_mib = predicted["cache_size_bytes"] / MIB
    ax.fill_between(grid_mib, predicted[f"{curve}_low"] / unit, predicted[f"{curve}_high"] / unit, **BAND)
    ax.plot(grid_mib, predicted[curve] / unit, **SIMULATED, marker="|", label="predicted, middle 80 %")
    _shade_stuck(predicted, ax)
    if measured is not None:
        for status, rows in measured.groupby("status", sort=True):
            hollow = {} if status == "completed" else {"markerfacecolor": "none"}
            sizes_mib = rows["cache_size_bytes"] / MIB
            ax.plot(sizes_mib, rows[curve] / unit, **MEASURED | hollow, label=f"measured, {status}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(grid_mib, [f"{size:g}" for size in grid_mib])
    ax.minorticks_off()
    if curve == "hit_rate":
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    else:
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    title, label = CURVES[curve]
    return finish(ax, title=title, x="xbzrle-cache-size [MiB]", y=label)


def _shade_stuck(predicted: pd.DataFrame, ax: Axes) -> None:
    """Shade the sizes that are predicted not to converge, half a step beyond the outermost on either side."""
    stuck = predicted.loc[predicted["status"] != "completed", "cache_size_bytes"]
    if stuck.empty:
        return
    half_step = np.sqrt(2.0)  # sizes are powers of two
    low, high = float(stuck.min()) / MIB / half_step, float(stuck.max()) / MIB * half_step
    ax.axvspan(low, high, color=LIMIT["color"], alpha=0.12, linewidth=0, label="predicted not to converge")
