"""Pictures of migrations of 2012: the chart of idle guests, the downtime by part, delayed timers, a page's time.

Every curve is labelled as modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from migsim.history.idle_chart import DOWNTIME_PARTS
from migsim.plot.bitmap import size_axis
from migsim.plot.style import BAND, COPIES, LIMIT, PARTS, RELEASES, SIMULATED, finish

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from migsim.history.big_lock import LockUse
    from migsim.history.inputs import Design
    from migsim.models.loop.copies import Ceiling

__all__ = [
    "CURVES",
    "plot_ceiling",
    "plot_downtime_by_size",
    "plot_idle_chart",
    "plot_timer_delays",
]

CURVES = {
    "total_s": ("Total time", "seconds"),
    "downtime_s": ("Downtime", "seconds"),
    "mean_gbit_per_s": ("Throughput, mean", "Gbit/s"),
    "peak_gbit_per_s": ("Throughput, best second", "Gbit/s"),
    "longest_stall_s": ("Longest stall of I/O and timers", "seconds"),
    "lock_duty": ("Big lock held", "share of the time"),
}
"""Columns of `migsim.history.idle_chart.idle_chart` that can be drawn: title and unit."""

LOGARITHMIC = {"total_s", "longest_stall_s"}
COLOURS = {"iothread": RELEASES["1.3"], "thread": RELEASES["1.4-1.7"]}
"""The colours of the releases that track dirty pages the same way."""


def plot_idle_chart(
    chart: pd.DataFrame, curve: str = "total_s", *, limit: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw one column of the chart of idle guests against guest size, with the band of the costs' ranges.

    Parameters
    ----------
    chart : pandas.DataFrame
        As `migsim.history.idle_chart.idle_chart` returns it: the numbers of this picture.
    curve : str
        A key of `CURVES`.
    limit : float, optional
        Value of a dashed horizontal line.
    ax : matplotlib.axes.Axes, optional
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    for design, rows in chart.groupby("design", sort=False):
        by_costs = rows.pivot_table(index="ram_gib", columns="costs", values=curve)
        colour = {"color": COLOURS[str(design)]}
        ax.fill_between(by_costs.index, by_costs.min(axis=1), by_costs.max(axis=1), **BAND | colour)
        label = f"{rows['tree'].iloc[0]} (modelled)"
        ax.plot(by_costs.index, by_costs["value"], **SIMULATED | colour, label=label)
    if limit is not None:
        ax.axhline(limit, **LIMIT)
    size_axis(ax, chart["ram_gib"])
    if curve in LOGARITHMIC:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)
    title, unit = CURVES[curve]
    return finish(ax, title=title, x="idle guest's RAM", y=unit)


def plot_downtime_by_size(chart: pd.DataFrame, design: Design = "thread", *, ax: Axes | None = None) -> Axes:
    """Draw the parts of the downtime against guest size as stacked bars, with the range of their sum.

    Parameters
    ----------
    chart : pandas.DataFrame
        As `migsim.history.idle_chart.idle_chart` returns it: the numbers of this picture.
    design : {"iothread", "thread"}
    ax : matplotlib.axes.Axes, optional
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    tree_rows = chart[chart["design"] == design]
    rows = tree_rows[tree_rows["costs"] == "value"]
    bottom = np.zeros(len(rows))
    for part in DOWNTIME_PARTS:
        heights = rows[f"{part.replace('-', '_')}_s"].to_numpy(float)
        ax.bar(range(len(rows)), heights, bottom=bottom, color=PARTS[part], width=0.7, label=part)
        bottom += heights
    downtime_s = tree_rows.groupby("ram_gib")["downtime_s"].agg(["min", "max"])
    reach = [bottom - downtime_s["min"].to_numpy(), downtime_s["max"].to_numpy() - bottom]
    ax.errorbar(
        range(len(rows)),
        bottom,
        np.maximum(reach, 0),
        fmt="none",
        ecolor="0.3",
        capsize=3,
        label="range of the costs",
    )
    ax.set_xticks(range(len(rows)), [f"{gib} GiB" for gib in rows["ram_gib"]], fontsize=8)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    title = f"Downtime, by part: {rows['tree'].iloc[0]} (modelled)"
    return finish(ax, title=title, x="idle guest's RAM", y="seconds")


def plot_timer_delays(uses: Mapping[str, LockUse], *, ax: Axes | None = None) -> Axes:
    """Draw the share of timers that are later than a delay, a line for each named use of the big lock.

    The numbers are `LockUse.delayed_fraction`.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    longest = max((use.longest_s for use in uses.values()), default=0.0) or 1e-3
    x = np.geomspace(1e-4, longest * 1.02, 300)
    for colour, (name, use) in zip([*COLOURS.values(), "#2ca02c", "#9467bd"], uses.items(), strict=False):
        late = [use.delayed_fraction(float(at)) for at in x]
        ax.plot(x * 1000, late, **SIMULATED | {"color": colour}, label=f"{name} (modelled)")
    ax.set_xscale("log")
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.legend(frameon=False, fontsize=8, loc="lower left")
    return finish(ax, title="Timers and I/O exits later than a delay", x="delay [ms]", y="share")


def plot_ceiling(ceilings: Mapping[str, Ceiling], *, ax: Axes | None = None) -> Axes:
    """Draw the time of one page by its parts, a bar for each copy path, with the rate that it allows.

    The numbers are `Ceiling.parts_s`.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure().add_subplot()
    ends = np.zeros(len(ceilings))
    for part, colour in COPIES.items():
        widths = np.array([c.parts_s.get(part, 0.0) for c in ceilings.values()]) * 1e6
        if widths.any():
            ax.barh(range(len(ceilings)), widths, left=ends, color=colour, label=part, height=0.6)
        ends += widths
    for row, ceiling in enumerate(ceilings.values()):
        ax.text(ends[row], row, f" {ceiling.gbit_per_s:.1f} Gbit/s", va="center", fontsize=8)
    ax.set_yticks(range(len(ceilings)), list(ceilings))
    ax.invert_yaxis()
    ax.set_xlim(right=float(ends.max()) * 1.25)
    ax.legend(frameon=False, fontsize=8)
    return finish(ax, title="Time of one page in the sending thread (modelled)", x="microseconds", y="")
