"""Text and HTML of a result, for notebooks."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from migsim.html import html_table
from migsim.results.figures import FIGURES
from migsim.results.standing import STANDING
from migsim.units import format_bytes, format_rate

if TYPE_CHECKING:
    from migsim.results.migration_result import MigrationResult

__all__ = ["figure_label", "format_amount", "format_figure", "result_html"]


def figure_label(name: str) -> str:
    """Return how tables call a figure of `FIGURES` or `STANDING`."""
    return STANDING[name].label if name in STANDING else FIGURES[name].label


def format_figure(name: str, value: float) -> str:
    """Write a figure of `FIGURES` or `STANDING` with its unit; an unknown value is a dash.

    Examples
    --------
    >>> format_figure("downtime", 29.0), format_figure("total-time", 29_000.0), format_figure("newly-dirty", 25e6)
    ('29 ms', '29.00 s', '25 MB/s')
    >>> format_figure("transferred", float("nan"))
    '–'
    """
    return format_amount(value, STANDING[name].unit if name in STANDING else FIGURES[name].unit)


def format_amount(value: float, unit: str) -> str:
    """Write a value in ms, bytes, bytes/s, percent or syncs with its unit; an unknown value is a dash."""
    if math.isnan(value):
        return "–"
    if unit == "ms":
        return f"{value / 1000:.2f} s" if value >= 10_000 else f"{max(value, 0.0):.0f} ms"
    if unit == "bytes":
        return format_bytes(round(value))
    if unit == "bytes/s":
        return format_rate(round(value))
    return f"{value:.0f} %" if unit == "percent" else f"{value:.0f}"


def result_html(result: MigrationResult) -> str:
    """Return a result as an HTML table: metrics with intervals, the blackout, the parts of the downtime."""
    rows = []
    for metric, value in result.metrics().items():
        interval = result.intervals.get(metric)
        interval_text = " to ".join(format_figure(metric, end) for end in interval) if interval else ""
        rows.append((metric, format_figure(metric, value), interval_text))
    rows.append(("blackout", format_figure("blackout", result.blackout_ms), ""))
    rows += [(f"downtime: {part}", f"{value:.3g} ms", "") for part, value in result.downtime_parts_ms.items()]
    caption = f"{result.kind} {result.name}, QEMU {result.qemu_version} ({result.accel}): {result.verdict}"
    reason = f"<p>{escape(result.outcome.reason)}</p>" if result.outcome.reason else ""
    return f"<div>{html_table(caption, ('', 'value', '80 % interval'), rows)}{reason}</div>"
