"""XBZRLE by cache size, predicted beside measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from migsim.plot.style import BAND, LIMIT, MEASURED, SIMULATED, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_cache_sizes"]

MIB = 2**20
CURVES = {
    "hit_rate": ("Pages found in XBZRLE's cache", "share of the pages looked up"),
    "transferred_bytes": ("Sent until the end or the deadline", "ram.transferred [MiB]"),
}


def plot_cache_sizes(
    predicted: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    curve: Literal["hit_rate", "transferred_bytes"] = "hit_rate",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw hit rate or bytes against `xbzrle-cache-size`.

    Sizes under which the migration is predicted not to converge are shaded; runs that did not are hollow.

    Parameters
    ----------
    predicted : pandas.DataFrame
        As `migsim.study.xbzrle_sizes.predicted_sizes` returns it: the numbers of this picture.
    measured : pandas.DataFrame, optional
        As `migsim.study.xbzrle_sizes.measured_sizes` returns it.
    curve : {"hit_rate", "transferred_bytes"}
    ax : matplotlib.axes.Axes, optional
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    unit = MIB if curve == "transferred_bytes" else 1.0
    x = predicted["cache_size_bytes"] / MIB
    ax.fill_between(x, predicted[f"{curve}_low"] / unit, predicted[f"{curve}_high"] / unit, **BAND)
    ax.plot(x, predicted[curve] / unit, **SIMULATED, marker="|", label="predicted, middle 80 %")
    _shade(predicted, ax)
    if measured is not None:
        for status, rows in measured.groupby("status", sort=True):
            hollow = {} if status == "completed" else {"markerfacecolor": "none"}
            at = rows["cache_size_bytes"] / MIB
            ax.plot(at, rows[curve] / unit, **MEASURED | hollow, label=f"measured, {status}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{size:g}" for size in x])
    ax.minorticks_off()
    if curve == "hit_rate":
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    else:
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    title, label = CURVES[curve]
    return finish(ax, title=title, x="xbzrle-cache-size [MiB]", y=label)


def _shade(predicted: pd.DataFrame, ax: Axes) -> None:
    """Shade the sizes up to the middle between the last that does not converge and the next."""
    stuck = predicted.loc[predicted["status"] != "completed", "cache_size_bytes"]
    if stuck.empty:
        return
    edges = np.sqrt(2.0)
    low, high = float(stuck.min()) / MIB / edges, float(stuck.max()) / MIB * edges
    ax.axvspan(low, high, color=LIMIT["color"], alpha=0.12, linewidth=0, label="predicted not to converge")
