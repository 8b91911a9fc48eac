"""One look for every picture: measured = black markers, simulated = line with band, limits = dashed grey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BAND", "LIMIT", "MEASURED", "SIMULATED", "finish"]

MEASURED: dict[str, Any] = {"color": "black", "marker": "o", "linestyle": "none", "markersize": 4}
SIMULATED: dict[str, Any] = {"color": "#1f77b4", "linewidth": 1.6}
BAND: dict[str, Any] = {"color": "#1f77b4", "alpha": 0.2, "linewidth": 0}
LIMIT: dict[str, Any] = {"color": "0.5", "linestyle": "--", "linewidth": 1.0}


def finish(ax: Axes, *, title: str, x: str, y: str) -> Axes:
    """Label an Axes the way all of ours are; returns it."""
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.5)
    return ax
