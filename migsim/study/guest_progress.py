"""A guest's work over time while it is migrated: simulated, or as a lab guest counted it.

The unit of work is what the guest does in a second at its pace before the migration; for a guest paced by a clock, in a
second at that pace. A guest that nothing slows has done `t` seconds of work `t` seconds after QMP ``migrate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.lab.guest.serial import ProgressLine, parse_line
from migsim.results import MigrationResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["guest_lost_s", "guest_progress"]


def guest_progress(run: MigrationResult) -> pd.DataFrame:
    """Tabulate a guest's work over time.

    Parameters
    ----------
    run : MigrationResult
        A simulated run has the work in its `timeline`, a measured one in the guest's lines on its serial port. A
        measured guest is taken to have worked at full pace until its first line.

    Returns
    -------
    pandas.DataFrame
        ``t_s`` since QMP ``migrate``, ``work_s``, ``side`` (``source``, ``destination``). Empty where the run has no
        times, no line of the guest on the source during the migration, or fewer than two lines before it.

    Examples
    --------
    >>> guest_progress(MigrationResult.load("record.json")).tail(1)        # doctest: +SKIP
    """
    import pandas as pd

    columns = ["t_s", "work_s", "side"]
    if run.kind == "simulated":
        if "guest_s" not in run.timeline:
            return pd.DataFrame(columns=columns)
        return run.timeline[["t_s"]].assign(work_s=run.timeline["guest_s"], side="source")
    reports = [
        (row, line) for row in run.guest_log if isinstance(line := parse_line(row["line"]), ProgressLine)
    ]
    timed = [i for i, (row, _) in enumerate(reports) if row.get("t_s", -1.0) > 0]
    before = [line for row, line in reports[: timed[0] if timed else 0] if row.get("t_s") is None]
    if not timed or reports[timed[0]][0]["side"] != "source" or len(before) < 2:
        return pd.DataFrame(columns=columns)
    begun_s, first = reports[timed[0]][0]["t_s"], reports[timed[0]][1]
    pace = _pace(run, before)
    rows = [
        (row["t_s"], begun_s + (line.writes - first.writes) / pace, row["side"])
        for row, line in (reports[i] for i in timed)
    ]
    return pd.DataFrame(rows, columns=columns)


def guest_lost_s(run: MigrationResult) -> float:
    """Return the time in which the guest did no work, up to its first line at the destination.

    A guest without a line at the destination is counted up to its last line. NaN where `guest_progress` is empty.
    """
    progress = guest_progress(run)
    if progress.empty:
        return float("nan")
    arrived = progress[progress["side"] == "destination"]
    last = arrived.iloc[0] if len(arrived) else progress.iloc[-1]
    return float(last["t_s"] - last["work_s"])


def _pace(run: MigrationResult, before: list[ProgressLine]) -> float:
    """Writes a second of the guest when nothing slows it."""
    clocked_writes_per_s = run.scenario.get("guest", {}).get("workload", {}).get("writes-per-s")
    if clocked_writes_per_s:
        return float(clocked_writes_per_s)
    first, last = before[0], before[-1]
    return (last.writes - first.writes) / (last.t_us - first.t_us) * 1e6
