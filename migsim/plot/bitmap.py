"""Syncs: how much of the downtime they take by guest size, and the fit to this machine's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from migsim.models.dirty.bitmap import GIB
from migsim.plot.style import BAND, LIMIT, MEASURED, RELEASES, SIMULATED, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.calibrate.host.sync_cost import SyncFit

__all__ = ["plot_freeze", "plot_sync_fit", "plot_sync_share"]

LABELS = {
    "1.3": "1 byte, two passes (1.3)",
    "1.4-1.7": "1 byte, one pass (1.4 to 1.7)",
    "2.0": "1 bit, word-wise (2.0)",
    "5.1": "1 bit, manual protect (5.1)",
    "ring": "dirty ring (6.1)",
}
LAYOUT_OF = {"QEMU 1.3, 4k": "1.3", "QEMU 1.3, 2m": "1.3", "QEMU 2.0, 4k": "2.0", "QEMU 5.1, all-set": "5.1"}
"""The layout of each case of `migsim.study.dirty_bitmap.freeze_table`."""

DASHED = {"5.1", "QEMU 1.3, 2m"}
"""Lines that may lie on others, or share their colour: 2.0 and 5.1 differ by dirty pages only."""

FITS = (SIMULATED["color"], RELEASES["2.0"], RELEASES["ring"])


def plot_sync_share(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of the final sync in the downtime against guest size, a line with its band for each layout.

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
    """Draw the longest wait of an I/O exit at the start against guest size.

    Parameters
    ----------
    table : pandas.DataFrame
        As `migsim.study.dirty_bitmap.freeze_table` returns it.
    ax : matplotlib.axes.Axes, optional
    """
    ax = _lines(table, "case", "io_exit_s", {}, ax)
    ax.set_yscale("log")
    return finish(ax, title="Freeze at the start: longest wait of I/O (modelled)", x="guest RAM", y="seconds")


def _lines(table: pd.DataFrame, by: str, value: str, labels: Mapping[str, str], ax: Axes | None) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
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
    """Make the x axis one of guest sizes: powers of two, in GiB and TiB."""
    ax.set_xscale("log", base=2)
    low, high = int(np.floor(np.log2(gib.min()))), int(np.ceil(np.log2(gib.max())))
    ticks = [float(2**k) for k in range(low, high + 1, 2 if high - low > 6 else 1)]
    names = [f"{t / 1024:g} TiB" if t >= 1024 else f"{t:g} GiB" for t in ticks]
    ax.set_xticks(ticks, names, fontsize=8)
    ax.minorticks_off()


def plot_sync_fit(fits: Mapping[str, SyncFit], *, ax: Axes | None = None) -> Axes:
    """Draw measured syncs against guest size, and the fit of each QEMU release.

    Parameters
    ----------
    fits : mapping of str to SyncFit
        By release; their `residuals` are the numbers of this picture.
    ax : matplotlib.axes.Axes, optional
    """
    import pandas as pd

    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    everything = pd.concat([fit.residuals["ram_gib"] for fit in fits.values()])
    grid = np.geomspace(everything.min(), everything.max(), 100)
    for k, (colour, (release, fit)) in enumerate(zip(FITS, fits.items(), strict=False)):
        rows, aside = fit.residuals, 1.0 + 0.12 * (k - (len(fits) - 1) / 2)
        style = MEASURED | {"markersize": 2.5, "alpha": 0.35, "marker": "os^"[k % 3]}
        ax.plot(rows["ram_gib"] * aside, rows["sync_s"] * 1e6, **style, label=f"measured, QEMU {release}")
        line = np.array([fit.seconds(g * GIB) for g in grid]) * 1e6
        spread = np.exp(1.2816 * next(iter(fit.terms.values())).spread)
        ax.fill_between(grid, line / spread, line * spread, **BAND | {"color": colour})
        base, per_gib = fit.terms["sync_base_s"].median * 1e6, fit.terms["sync_s_per_gib"].median * 1e6
        said = f"fit, QEMU {release}: {base:.0f} µs + {per_gib:.1f} µs/GiB"
        ax.plot(grid, line, **SIMULATED | {"color": colour}, label=said)
    size_axis(ax, everything)
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Bitmap syncs while the guest runs", x="guest RAM", y="sync [µs]")
