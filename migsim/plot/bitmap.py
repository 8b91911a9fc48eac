"""Pictures of bitmap syncs by guest size: share of the downtime, freeze at the start, and fits to measured syncs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from migsim.intervals import NORMAL_DEVIATE
from migsim.models.dirty.bitmap import GIB
from migsim.plot.style import BAND, LIMIT, MEASURED, RELEASES, SIMULATED, axes_or_new, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.calibrate.host.sync_cost import SyncFit

__all__ = ["plot_freeze", "plot_sync_fit", "plot_sync_share", "size_axis"]

LABELS = {
    "1.3": "1 byte, two passes (1.3)",
    "1.4-1.7": "1 byte, one pass (1.4 to 1.7)",
    "2.0": "1 bit, word-wise (2.0)",
    "5.1": "1 bit, manual protect (5.1)",
    "ring": "dirty ring (6.1)",
}
"""Legend of each layout: bitmap size a page, what is special about the sync, and the releases."""

LAYOUT_OF = {"QEMU 1.3, 4k": "1.3", "QEMU 1.3, 2m": "1.3", "QEMU 2.0, 4k": "2.0", "QEMU 5.1, all-set": "5.1"}
"""The layout of each case of `migsim.study.dirty_bitmap.freeze_table`."""

DASHED = {"5.1", "QEMU 1.3, 2m"}
"""Dashed lines: they may lie on others, or share their colour. 2.0 and 5.1 differ by dirty pages only."""

FITS = (SIMULATED["color"], RELEASES["2.0"], RELEASES["ring"])
"""Colours of the fits, in the order of their releases."""


def plot_sync_share(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of the final sync in the downtime against guest size, a line with a band for each layout.

    Parameters
    ----------
    table : pandas.DataFrame
        As `migsim.study.dirty_bitmap.sync_share_table` returns it: the numbers of this picture.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _lines(table, "layout", "share", LABELS, ax)
    ax.axhline(0.5, **LIMIT)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return finish(ax, title="Share of the final sync in the downtime (modelled)", x="guest RAM", y="share")


def plot_freeze(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the longest wait of an I/O exit at the start of a migration against guest size.

    Parameters
    ----------
    table : pandas.DataFrame
        As `migsim.study.dirty_bitmap.freeze_table` returns it.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _lines(table, "case", "io_exit_s", {}, ax)
    ax.set_yscale("log")
    return finish(
        ax, title="Longest wait of I/O at the start of a migration (modelled)", x="guest RAM", y="seconds"
    )


def _lines(table: pd.DataFrame, by: str, value: str, labels: Mapping[str, str], ax: Axes | None) -> Axes:
    ax = axes_or_new(ax)
    for name, rows in table.groupby(by, sort=False):
        x = rows["ram_gib"]
        colour = RELEASES[LAYOUT_OF.get(str(name), str(name))]
        dashes = (0, (4, 3)) if name in DASHED else "-"
        ax.fill_between(x, rows[f"{value}_low"], rows[f"{value}_high"], **BAND | {"color": colour})
        ax.plot(
            x,
            rows[value],
            **SIMULATED | {"color": colour, "linestyle": dashes},
            label=labels.get(str(name), str(name)),
        )
    size_axis(ax, table["ram_gib"])
    ax.legend(frameon=False, fontsize=8)
    return ax


def size_axis(ax: Axes, gib: pd.Series[float]) -> None:
    """Give the x axis ticks at guest sizes: powers of two, in GiB and TiB."""
    ax.set_xscale("log", base=2)
    low, high = int(np.floor(np.log2(gib.min()))), int(np.ceil(np.log2(gib.max())))
    ticks = [float(2**k) for k in range(low, high + 1, 2 if high - low > 6 else 1)]
    labels = [f"{tick / 1024:g} TiB" if tick >= 1024 else f"{tick:g} GiB" for tick in ticks]
    ax.set_xticks(ticks, labels, fontsize=8)
    ax.minorticks_off()


def plot_sync_fit(fits: Mapping[str, SyncFit], *, ax: Axes | None = None) -> Axes:
    """Draw measured syncs against guest size, and the fit of each QEMU release.

    Parameters
    ----------
    fits : mapping of str to SyncFit
        Fits by QEMU release; their `residuals` are the numbers of this picture.
    ax : matplotlib.axes.Axes, optional
    """
    import pandas as pd

    ax = axes_or_new(ax)
    sizes_gib = pd.concat([fit.residuals["ram_gib"] for fit in fits.values()])
    grid_gib = np.geomspace(sizes_gib.min(), sizes_gib.max(), 100)
    for k, (colour, (release, fit)) in enumerate(zip(FITS, fits.items(), strict=False)):
        rows = fit.residuals
        shift = 1.0 + 0.12 * (k - (len(fits) - 1) / 2)  # markers of two releases side by side
        style = MEASURED | {"markersize": 2.5, "alpha": 0.35, "marker": "os^"[k % 3]}
        ax.plot(rows["ram_gib"] * shift, rows["sync_s"] * 1e6, **style, label=f"measured, QEMU {release}")
        line = np.array([fit.seconds(size * GIB) for size in grid_gib]) * 1e6
        spread = np.exp(NORMAL_DEVIATE * next(iter(fit.terms.values())).spread)
        ax.fill_between(grid_gib, line / spread, line * spread, **BAND | {"color": colour})
        base, per_gib = fit.terms["sync_base_s"].median * 1e6, fit.terms["sync_s_per_gib"].median * 1e6
        label = f"fit, QEMU {release}: {base:.0f} µs + {per_gib:.1f} µs/GiB"
        ax.plot(grid_gib, line, **SIMULATED | {"color": colour}, label=label)
    size_axis(ax, sizes_gib)
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Bitmap syncs while the guest runs", x="guest RAM", y="sync [µs]")
