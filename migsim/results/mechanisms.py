"""What a result says of XBZRLE and of throttling: figures that simulated and measured migrations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cache_hit_rate", "throttle_steps"]


def cache_hit_rate(info: Mapping[str, Any]) -> float | None:
    """Share of the pages looked up in XBZRLE's cache that it held, over the whole migration (5.1 on).

    None where XBZRLE was off or nothing was looked up.

    Examples
    --------
    >>> cache_hit_rate({"xbzrle-cache": {"pages": 30, "cache-miss": 10}})
    0.75
    """
    cache = info.get("xbzrle-cache", {})
    found, missed = float(cache.get("pages", 0)), float(cache.get("cache-miss", 0))
    return found / (found + missed) if found + missed else None


def throttle_steps(timeline: pd.DataFrame) -> dict[int, float]:
    """When each throttle percentage was first seen, in seconds since QMP ``migrate``.

    Parameters
    ----------
    timeline : DataFrame
        Of a result.

    Returns
    -------
    dict of int to float
        By ``cpu-throttle-percentage``; empty where there was none.
    """
    if "cpu-throttle-percentage" not in timeline:
        return {}
    throttled = timeline[timeline["cpu-throttle-percentage"] > 0]
    first: dict[int, float] = {}
    for percentage, t_s in zip(throttled["cpu-throttle-percentage"], throttled["t_s"], strict=True):
        first.setdefault(int(percentage), float(t_s))
    return first
