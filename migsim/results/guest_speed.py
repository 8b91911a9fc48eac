"""How fast a guest works over time, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GUEST_SPEED_COLUMNS", "guest_speed_frame"]

GUEST_SPEED_COLUMNS = {
    "t_s": "begin of the piece, s since QMP migrate",
    "until_s": "its end",
    "speed_fraction": "share of its full speed that the guest is given",
    "work_per_s": "seconds of work, at its own pace, that it does in a second",
    "why": "running, setup, dirty-log faults, throttle, dirty-limit, processors, blackout or standstill",
}
"""Columns of a result's `guest_speed`."""


def guest_speed_frame(rows: Iterable[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Make the `guest_speed` table of a result: a row for each while of one speed, without gaps.

    Examples
    --------
    >>> list(guest_speed_frame().columns)
    ['t_s', 'until_s', 'speed_fraction', 'work_per_s', 'why']
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(GUEST_SPEED_COLUMNS))
    return frame.astype({name: "float64" for name in GUEST_SPEED_COLUMNS if name != "why"})
