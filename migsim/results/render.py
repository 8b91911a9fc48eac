"""Text and HTML of a result, for notebooks."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from migsim.html import html_table
from migsim.units import format_bytes, format_duration_s

if TYPE_CHECKING:
    from migsim.results.migration_result import MigrationResult

__all__ = ["format_metric", "result_html"]


def format_metric(metric: str, value: float) -> str:
    """Format a metric's value with its unit; an unknown value is a dash.

    Examples
    --------
    >>> format_metric("downtime", 29.0), format_metric("transferred", float("nan"))
    ('29 ms', '–')
    """
    if math.isnan(value):
        return "–"
    if metric == "transferred":
        return format_bytes(value)
    return f"{value:.4g}" if metric == "rounds" else format_duration_s(value / 1000)


def result_html(result: MigrationResult) -> str:
    """Return a result as an HTML table: metrics with intervals, the blackout, the parts of the downtime."""
    rows = []
    for metric, value in result.metrics().items():
        interval = result.intervals.get(metric)
        interval_text = " to ".join(format_metric(metric, end) for end in interval) if interval else ""
        rows.append((metric, format_metric(metric, value), interval_text))
    rows.append(("blackout", format_metric("blackout", result.blackout_ms), ""))
    rows += [(f"downtime: {part}", f"{value:.3g} ms", "") for part, value in result.downtime_parts_ms.items()]
    caption = f"{result.kind} {result.name}, QEMU {result.qemu_version} ({result.accel}): {result.verdict}"
    reason = f"<p>{escape(result.outcome.reason)}</p>" if result.outcome.reason else ""
    return f"<div>{html_table(caption, ('', 'value', '80 % interval'), rows)}{reason}</div>"
