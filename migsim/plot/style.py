"""Style of all pictures: black markers for measured, a line with a band for simulated, dashed grey for a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BAND", "COPIES", "LIMIT", "MEASURED", "PARTS", "RELEASES", "SIMULATED", "axes_or_new", "finish"]

MEASURED: dict[str, Any] = {"color": "black", "marker": "o", "linestyle": "none", "markersize": 4}
SIMULATED: dict[str, Any] = {"color": "#1f77b4", "linewidth": 1.6}
BAND: dict[str, Any] = {"color": "#1f77b4", "alpha": 0.2, "linewidth": 0}
LIMIT: dict[str, Any] = {"color": "0.5", "linestyle": "--", "linewidth": 1.0}

RELEASES = {
    "1.3": "#d62728",
    "1.4-1.7": "#ff7f0e",
    "2.0": "#9467bd",
    "5.1": "#17becf",
    "ring": "#2ca02c",
}
"""Colours of the ways to track dirty pages, by the releases that have them (`migsim.models.dirty.sync.LAYOUTS`)."""

COPIES = {
    "test": "0.75",
    "cache": "#c7e9c0",
    "stream-buffer": "#fdd0a2",
    "staging": "#fd8d3c",
    "kernel": "#6baed6",
}
"""Colours of the parts of a page's time in the sending thread (`migsim.models.loop.copies`)."""

PARTS = {
    "stop": "0.55",
    "sync": "#54278f",
    "stage": COPIES["staging"],
    "flush": COPIES["kernel"],
    "log-stop": "#9e9ac8",
    "device": "0.8",
    "rest": "0.9",
}
"""Colours of the parts of a downtime, in the order in which they happen."""


def axes_or_new(ax: Axes | None) -> Axes:
    """Return `ax`, or where it is None the Axes of a new pyplot figure."""
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.figure().add_subplot()
    return ax


def finish(ax: Axes, *, title: str, x: str, y: str) -> Axes:
    """Give an Axes its title, axis labels and grid, and return it."""
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.5)
    return ax
