"""The operations that a Linux guest completed during a migration, over time, and how many of them were lost.

The guest's clock does not advance while the machine is stopped, but the host's clock does, and users wait by that. On
each side, the host time of a line is the guest's clock plus one offset. A line is received at most 0.1 s after the
guest wrote it, and never before. So the offset is the smallest difference between the two times of all lines of
that side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migsim.errors import RecordError
from migsim.results.linux_lines import LinuxReady, LinuxWork, OperationTotal, parse_linux_line

if TYPE_CHECKING:
    import pandas as pd

    from migsim.results.migration_result import MigrationResult

__all__ = ["TRANSACTION_COLUMNS", "lost_transactions", "transactions"]

TRANSACTION_COLUMNS = (
    "t_s",
    "clock_s",
    "side",
    "operation",
    "completed",
    "interval_s",
    "per_s",
    "mean_latency_s",
    "busy_fraction",
)
"""Columns of `transactions`, in order."""


@dataclass(frozen=True)
class _Count:
    """A ``work`` line: guest time `clock_s` since ready, host time `t_s` (NaN where it was not recorded)."""

    side: str
    clock_s: float
    t_s: float
    work: LinuxWork


def transactions(run: MigrationResult | str) -> pd.DataFrame:
    r"""Tabulate the operations that a Linux guest completed in each interval between two of its ``work`` lines.

    Parameters
    ----------
    run : MigrationResult or str
        A record of a Linux guest, or the text of its second serial port. A text has no host times, so `t_s` is then
        the guest's clock since ready.

    Returns
    -------
    pandas.DataFrame
        One row for each interval and operation; empty if the run has fewer than two lines.

        - ``t_s``: end of the interval by the host's clock, since QMP ``migrate`` (negative before it)
        - ``clock_s``: end of the interval by the guest's clock, since ready
        - ``side``: where the guest ran at the end of the interval
        - ``operation``, and ``completed``: how many of it were completed in the interval
        - ``interval_s``: length of the interval by the host's clock
        - ``per_s``: completed / interval_s
        - ``mean_latency_s``: of the completed operations; NaN if there were none
        - ``busy_fraction``: processor time that the guest used, of all its processors together, over the interval's
          length by the guest's clock; NaN where the lines do not have it

        The interval in which the guest moved ends with its first line at the destination, and contains the blackout.

    Examples
    --------
    >>> line = "migsim-linux work clock_us={} buy={}:{} busy_us=0\n"
    >>> transactions(line.format(1000000, 5, 50) + line.format(3000000, 9, 8050))["per_s"].item()
    2.0
    """
    import pandas as pd

    counts = _counts_of_text(run) if isinstance(run, str) else _counts_of_log(run.guest_log)
    rows = [row for before, after in itertools.pairwise(counts) for row in _rows(before, after)]
    return pd.DataFrame(rows, columns=list(TRANSACTION_COLUMNS))


def lost_transactions(
    run: MigrationResult, *, until_s: float | None = None, before_s: float = 20.0
) -> pd.DataFrame:
    """Compare the operations that the guest completed from QMP ``migrate`` on with its pace before the migration.

    Parameters
    ----------
    run : MigrationResult
        A record of a Linux guest.
    until_s : float, optional
        End of the window, in seconds since QMP ``migrate``; by default the guest's last line, which it writes some
        seconds after its arrival at the destination.
    before_s : float
        How many seconds before QMP ``migrate`` the pace is measured; the first seconds after ready are slower.

    Returns
    -------
    pandas.DataFrame
        One row for each operation, and one for ``all`` of them.

        - ``window_s``: time from the last line before QMP ``migrate`` to the last line of the window
        - ``before_per_s``: the pace before; ``before_sd_per_s``: its standard deviation from line to line
        - ``completed``: in the window
        - ``lost``: before_per_s · window_s − completed
        - ``lost_sd``: the standard deviation that `lost` has if the pace does not change. With s the standard
          deviation of the pace from line to line, d the seconds between two lines, b the seconds before QMP
          ``migrate`` and w the window, it is √(s²·d·w + s²·w²·d/b). Successive lines are taken as independent.

    Raises
    ------
    RecordError
        The record has fewer than three lines before the migration, or none after its start.
    """
    import pandas as pd

    table = transactions(run)
    before = table[(table["t_s"] <= 0) & (table["t_s"] >= -before_s)]
    after = table[(table["t_s"] > 0) & (table["t_s"] <= (math.inf if until_s is None else until_s))]
    if before["t_s"].nunique() < 2 or after.empty:
        raise RecordError(
            f"The record of {run.name!r} holds {before['t_s'].nunique()} intervals of a Linux guest's work before the "
            f"migration and {after['t_s'].nunique()} since.",
            "Lost operations are computed from the pace before the migration, which needs two intervals or more.",
            "Record a scenario with [guest.linux] and a settle-s of some seconds.",
        )
    total = {"operation": "all"}
    parts = (
        pd.concat([part, _sum_operations(part).assign(**total)], ignore_index=True)
        for part in (before, after)
    )
    return _losses(*parts)


def _losses(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for operation, lines_before in before.groupby("operation", sort=False):
        lines_after = after[after["operation"] == operation]
        lines_before_s = float(lines_before["interval_s"].sum())
        window_s = float(lines_after["interval_s"].sum())
        pace = float(lines_before["completed"].sum()) / lines_before_s
        spread = float(lines_before["per_s"].std())
        line_s = lines_before_s / len(lines_before)
        completed = int(lines_after["completed"].sum())
        rows.append(
            {
                "operation": operation,
                "window_s": window_s,
                "before_per_s": pace,
                "before_sd_per_s": spread,
                "completed": completed,
                "lost": pace * window_s - completed,
                "lost_sd": spread * math.sqrt(line_s * window_s * (1 + window_s / lines_before_s)),
            }
        )
    return pd.DataFrame(rows)


def _sum_operations(part: pd.DataFrame) -> pd.DataFrame:
    """Add up the operations of each interval."""
    total = part.groupby("t_s", as_index=False).agg({"completed": "sum", "interval_s": "first"})
    return total.assign(per_s=total["completed"] / total["interval_s"])


def _rows(before: _Count, after: _Count) -> Iterable[dict[str, Any]]:
    """Make the rows of the interval between two lines; none if a clock or a counter went back, as after a boot."""
    interval_s, clock_s = after.t_s - before.t_s, after.clock_s - before.clock_s
    if not interval_s > 0 or not clock_s > 0:
        return
    busy = [line.work.busy_us for line in (before, after)]
    busy_s = math.nan if busy[0] is None or busy[1] is None else (busy[1] - busy[0]) / 1e6
    for operation, total in after.work.operations.items():
        total_before = before.work.operations.get(operation, OperationTotal(0, 0))
        completed = total.completed - total_before.completed
        if completed < 0:
            continue
        yield {
            "t_s": after.t_s,
            "clock_s": after.clock_s,
            "side": after.side,
            "operation": operation,
            "completed": completed,
            "interval_s": interval_s,
            "per_s": completed / interval_s,
            "mean_latency_s": (
                (total.latency_us - total_before.latency_us) / 1e6 / completed if completed else math.nan
            ),
            "busy_fraction": busy_s / clock_s,
        }


def _counts_of_text(text: str) -> list[_Count]:
    lines = [("source", line, math.nan) for line in text.replace("\r", "").split("\n")[:-1]]
    return [_Count(count.side, count.clock_s, count.clock_s, count.work) for count in _counts(lines)]


def _counts_of_log(log: Iterable[Mapping[str, Any]]) -> list[_Count]:
    counts = _counts(_whole_lines(log))
    with_host_times: list[_Count] = []
    for side in dict.fromkeys(count.side for count in counts):
        of_side = [count for count in counts if count.side == side]
        offsets = [count.t_s - count.clock_s for count in of_side if not math.isnan(count.t_s)]
        if offsets:
            with_host_times += [
                _Count(side, count.clock_s, count.clock_s + min(offsets), count.work) for count in of_side
            ]
    return with_host_times


def _whole_lines(log: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """Return (side, line, host time); a line begun at the source and ended at the destination is joined."""
    rows = [row for row in log if row.get("port") is None]
    lines: list[tuple[str, str, float]] = []
    begun = ""
    for row in rows:
        if row.get("cut"):
            begun = str(row["line"]) if row["side"] == "source" else ""
            continue
        line = str(row["line"])
        if begun and row["side"] == "destination" and parse_linux_line(line) is None:
            line = begun + line
        begun = ""
        lines.append((str(row["side"]), line, float(row.get("t_s", math.nan))))
    return lines


def _counts(lines: Iterable[tuple[str, str, float]]) -> list[_Count]:
    """Parse the ``work`` lines; `clock_s` counts from the ready line, or from the first line if that is missing."""
    ready_us: int | None = None
    counts: list[_Count] = []
    for side, line, t_s in lines:
        parsed = parse_linux_line(line)
        if isinstance(parsed, LinuxReady):
            ready_us = parsed.clock_us
        elif isinstance(parsed, LinuxWork):
            ready_us = parsed.clock_us if ready_us is None else ready_us
            counts.append(_Count(side, (parsed.clock_us - ready_us) / 1e6, t_s, parsed))
    return counts
