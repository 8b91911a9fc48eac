"""Writing what was varied for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from migsim.units import format_bytes, format_duration_s, format_rate

__all__ = ["format_value"]


def format_value(value: Any, unit: str) -> str:
    """Write a varied value shortly, with its unit.

    Examples
    --------
    >>> format_value(1_250_000_000, "bytes/s"), format_value(300, "ms"), format_value(True, "")
    ('10 Gbps', '300 ms', 'on')
    """
    if isinstance(value, bool | np.bool_):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if not value:
        return "0"
    if unit == "bytes/s":
        return format_rate(float(value), bits=True)
    if unit == "bytes":
        return format_bytes(float(value))
    if unit in ("ms", "s"):
        return format_duration_s(float(value) / (1000 if unit == "ms" else 1))
    if unit == "percent":
        return f"{value:g} %"
    return f"{value:.4g}" if unit in ("", "1") else f"{value:.4g} {unit}"
