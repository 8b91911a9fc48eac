"""How far a guest got with its own work while it was migrated: simulated, or counted by a lab guest itself.

Work counts in seconds at the guest's own pace: its mean pace before the migration, or the clock's where it works by
that. A guest that nothing slows has done `t` seconds of work `t` seconds after QMP ``migrate``.
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
        A simulated one has it in its `timeline`, a measured one in the guest's lines on its serial port. Until its
        first line a measured guest is taken to have worked at its pace.

    Returns
    -------
    pandas.DataFrame
        ``t_s`` since QMP ``migrate``, ``work_s``, ``side`` (``source``, ``destination``); empty where the run does
        not tell: no times, no line on the source during the migration, fewer than two before it.

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
    said = [(row, line) for row in run.guest_log if isinstance(line := parse_line(row["line"]), ProgressLine)]
    timed = [i for i, (row, _) in enumerate(said) if row.get("t_s", -1.0) > 0]
    before = [line for row, line in said[: timed[0] if timed else 0] if row.get("t_s") is None]
    if not timed or said[timed[0]][0]["side"] != "source" or len(before) < 2:
        return pd.DataFrame(columns=columns)
    begun, first = said[timed[0]][0]["t_s"], said[timed[0]][1]
    pace = _pace(run, before)
    rows = [
        (row["t_s"], begun + (line.writes - first.writes) / pace, row["side"])
        for row, line in (said[i] for i in timed)
    ]
    return pd.DataFrame(rows, columns=columns)


def guest_lost_s(run: MigrationResult) -> float:
    """Time in which the guest did no work, until its first line at the destination, or its last before the deadline.

    NaN where `guest_progress` is empty.
    """
    seen = guest_progress(run)
    if seen.empty:
        return float("nan")
    arrived = seen[seen["side"] == "destination"]
    last = arrived.iloc[0] if len(arrived) else seen.iloc[-1]
    return float(last["t_s"] - last["work_s"])


def _pace(run: MigrationResult, before: list[ProgressLine]) -> float:
    """Writes a second of a guest that nothing slows."""
    by_the_clock = run.scenario.get("guest", {}).get("workload", {}).get("writes-per-s")
    if by_the_clock:
        return float(by_the_clock)
    first, last = before[0], before[-1]
    return (last.writes - first.writes) / (last.t_us - first.t_us) * 1e6
