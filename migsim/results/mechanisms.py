"""Figures of XBZRLE and of throttling, computed alike from simulated and from measured migrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cache_hit_rate", "throttle_steps"]


def cache_hit_rate(info: Mapping[str, Any]) -> float | None:
    """Return the share of the pages looked up in XBZRLE's cache that were found there, over the whole migration.

    QEMU counts these pages from 5.1 on. None if XBZRLE was off or no page was looked up.

    Examples
    --------
    >>> cache_hit_rate({"xbzrle-cache": {"pages": 30, "cache-miss": 10}})
    0.75
    """
    cache = info.get("xbzrle-cache", {})
    hits, misses = float(cache.get("pages", 0)), float(cache.get("cache-miss", 0))
    return hits / (hits + misses) if hits + misses else None


def throttle_steps(timeline: pd.DataFrame) -> dict[int, float]:
    """Return the time at which each throttle percentage first appeared, in seconds since QMP ``migrate``.

    Parameters
    ----------
    timeline : DataFrame
        The `timeline` of a result.

    Returns
    -------
    dict of int to float
        Times by ``cpu-throttle-percentage``; empty if the guest was never throttled.
    """
    if "cpu-throttle-percentage" not in timeline:
        return {}
    throttled = timeline[timeline["cpu-throttle-percentage"] > 0]
    first: dict[int, float] = {}
    for percentage, t_s in zip(throttled["cpu-throttle-percentage"], throttled["t_s"], strict=True):
        first.setdefault(int(percentage), float(t_s))
    return first
