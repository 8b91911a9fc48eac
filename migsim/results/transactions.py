"""What a Linux guest got done through a migration: completed operations over time, and how many were lost.

The guest counts by its own clock, which stands still while the machine does; its users wait by the host's. On each side
the host's time of a line is the guest's clock plus one offset: the least by which a line of that side was heard later
than the guest wrote it, because hearing is late by up to 0.1 s and never early.
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
    """A ``work`` line: `clock_s` since ready, `t_s` by the host (NaN where nobody heard it come)."""

    side: str
    clock_s: float
    t_s: float
    work: LinuxWork


def transactions(run: MigrationResult | str) -> pd.DataFrame:
    r"""Tabulate the operations that a Linux guest completed, from one of its lines to the next.

    Parameters
    ----------
    run : MigrationResult or str
        A record of a Linux guest, or the text of its second serial port. Text has no host times: `t_s` is then the
        guest's clock since ready.

    Returns
    -------
    pandas.DataFrame
        A row for each interval and operation: ``t_s`` the interval's end by the host, since QMP ``migrate`` (negative
        before it); ``clock_s`` by the guest, since ready; ``side`` that the line came from; ``operation``;
        ``completed`` in the interval; ``interval_s`` its length by the host; ``per_s`` = completed / interval_s;
        ``mean_latency_s`` of what was completed (NaN where nothing was); ``busy_fraction`` of the interval by the
        guest's clock that its processors worked (summed over them; NaN where the guest does not tell). The interval
        in which the guest moved ends with its first line at the destination and holds the blackout. Empty where
        the run holds fewer than two lines.

    Examples
    --------
    >>> said = "migsim-linux work clock_us={} buy={}:{} busy_us=0\n"
    >>> transactions(said.format(1000000, 5, 50) + said.format(3000000, 9, 8050))["per_s"].item()
    2.0
    """
    import pandas as pd

    counts = _counts_of_text(run) if isinstance(run, str) else _counts_of_log(run.guest_log)
    rows = [row for before, after in itertools.pairwise(counts) for row in _rows(before, after)]
    return pd.DataFrame(rows, columns=list(TRANSACTION_COLUMNS))


def lost_transactions(
    run: MigrationResult, *, until_s: float | None = None, before_s: float = 20.0
) -> pd.DataFrame:
    """Compare what the guest completed from QMP ``migrate`` on with its pace before it.

    Parameters
    ----------
    run : MigrationResult
        A record of a Linux guest.
    until_s : float, optional
        Where the window ends; with its last line when left out, some seconds after it has arrived.
    before_s : float
        How long before QMP ``migrate`` its pace is looked at: the first seconds after ready are slower.

    Returns
    -------
    pandas.DataFrame
        A row for each operation, and ``all``: ``window_s`` from the last line before QMP ``migrate`` to the last one
        counted; ``before_per_s`` the pace before; ``before_sd_per_s`` how much it differed from line to line;
        ``completed`` in the window; ``lost`` = before_per_s · window_s − completed; ``lost_sd`` of that, were the
        guest's pace what it was before: √(s²·d·w + s²·w²·d/b) for lines of d seconds that differ by s, b seconds of
        them before, and a window of w. Neighbouring lines are taken as independent of each other.

    Raises
    ------
    RecordError
        Where the record holds fewer than three lines before the migration or none after its start.
    """
    import pandas as pd

    seen = transactions(run)
    before = seen[(seen["t_s"] <= 0) & (seen["t_s"] >= -before_s)]
    after = seen[(seen["t_s"] > 0) & (seen["t_s"] <= (math.inf if until_s is None else until_s))]
    if before["t_s"].nunique() < 2 or after.empty:
        raise RecordError(
            f"The record of {run.name!r} holds {before['t_s'].nunique()} intervals of a Linux guest's work before the "
            f"migration and {after['t_s'].nunique()} since.",
            "What was lost is told from its pace before, by two intervals or more.",
            "Record a scenario with [guest.linux] and a settle-s of some seconds.",
        )
    total = {"operation": "all"}
    parts = (pd.concat([part, _summed(part).assign(**total)], ignore_index=True) for part in (before, after))
    return _losses(*parts)


def _losses(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for operation, past in before.groupby("operation", sort=False):
        then = after[after["operation"] == operation]
        past_s, window_s = float(past["interval_s"].sum()), float(then["interval_s"].sum())
        pace, spread = float(past["completed"].sum()) / past_s, float(past["per_s"].std())
        line_s = past_s / len(past)
        completed = int(then["completed"].sum())
        rows.append(
            {
                "operation": operation,
                "window_s": window_s,
                "before_per_s": pace,
                "before_sd_per_s": spread,
                "completed": completed,
                "lost": pace * window_s - completed,
                "lost_sd": spread * math.sqrt(line_s * window_s * (1 + window_s / past_s)),
            }
        )
    return pd.DataFrame(rows)


def _summed(part: pd.DataFrame) -> pd.DataFrame:
    """Add the operations of each interval up."""
    made = part.groupby("t_s", as_index=False).agg({"completed": "sum", "interval_s": "first"})
    return made.assign(per_s=made["completed"] / made["interval_s"])


def _rows(before: _Count, after: _Count) -> Iterable[dict[str, Any]]:
    """Make the rows between two lines; none where a clock or a counter ran backwards (another boot)."""
    interval_s, clock_s = after.t_s - before.t_s, after.clock_s - before.clock_s
    if not interval_s > 0 or not clock_s > 0:
        return
    busy = [line.work.busy_us for line in (before, after)]
    busy_s = math.nan if busy[0] is None or busy[1] is None else (busy[1] - busy[0]) / 1e6
    for operation, now in after.work.operations.items():
        then = before.work.operations.get(operation, OperationTotal(0, 0))
        completed = now.completed - then.completed
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
            "mean_latency_s": (now.latency_us - then.latency_us) / 1e6 / completed if completed else math.nan,
            "busy_fraction": busy_s / clock_s,
        }


def _counts_of_text(text: str) -> list[_Count]:
    lines = [("source", line, math.nan) for line in text.replace("\r", "").split("\n")[:-1]]
    return [_Count(c.side, c.clock_s, c.clock_s, c.work) for c in _counts(lines)]


def _counts_of_log(log: Iterable[Mapping[str, Any]]) -> list[_Count]:
    counts = _counts(_whole_lines(log))
    placed: list[_Count] = []
    for side in dict.fromkeys(count.side for count in counts):
        of_side = [count for count in counts if count.side == side]
        late = [count.t_s - count.clock_s for count in of_side if not math.isnan(count.t_s)]
        if late:
            placed += [_Count(side, c.clock_s, c.clock_s + min(late), c.work) for c in of_side]
    return placed


def _whole_lines(log: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """Return (side, line, when heard); a line begun at the source and ended at the destination is put together."""
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
    """Read the ``work`` lines; the guest's clock counts from ready, or the first line where that was not heard."""
    ready_us: int | None = None
    counts: list[_Count] = []
    for side, line, t_s in lines:
        read = parse_linux_line(line)
        if isinstance(read, LinuxReady):
            ready_us = read.clock_us
        elif isinstance(read, LinuxWork):
            ready_us = read.clock_us if ready_us is None else ready_us
            counts.append(_Count(side, (read.clock_us - ready_us) / 1e6, t_s, read))
    return counts
