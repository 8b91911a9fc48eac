"""The `guest_speed` table of a result: how fast the guest works over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GUEST_SPEED_COLUMNS", "guest_speed_frame"]

GUEST_SPEED_COLUMNS = {
    "t_s": "begin of a period of constant speed, s since QMP migrate",
    "until_s": "end of the period, s since QMP migrate",
    "speed_fraction": "share of its full speed at which the guest can run",
    "work_per_s": "work that the guest does in a second, in seconds of work at its normal pace",
    "why": "running, setup, dirty-log faults, throttle, dirty-limit, processors, blackout or standstill",
}
"""Columns of a result's `guest_speed`, and their meaning."""


def guest_speed_frame(rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Make the `guest_speed` table of a result: one row for each period of constant speed, without gaps.

    Examples
    --------
    >>> list(guest_speed_frame().columns)
    ['t_s', 'until_s', 'speed_fraction', 'work_per_s', 'why']
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(GUEST_SPEED_COLUMNS))
    return frame.astype({name: "float64" for name in GUEST_SPEED_COLUMNS if name != "why"})
