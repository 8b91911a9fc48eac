"""Transactions that a Linux guest's users lost through a migration, predicted beside measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from migsim.calibrate.users import fit_loop
from migsim.errors import MigsimError
from migsim.results.transactions import transactions
from migsim.study.users_compared import compare_guest_performance
from validation.scores import Scored

__all__ = ["compared", "users_table"]


def compared(s: Scored) -> pd.DataFrame:
    """Compare each run of a scenario whose guest reports its transactions; empty for other guests.

    The users' demands come from each run's report before its migration.
    """
    linux = s.scenario.guest.linux
    if linux is None:
        return pd.DataFrame()
    rows = []
    for run in s.runs:
        try:
            fit = fit_loop(transactions(run), users=linux.users, think_s=linux.think_s)
            rows.append(compare_guest_performance(s.prediction, fit, run))
        except MigsimError:  # the guest never reported: the verdict says so
            continue
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def users_table(scored: Sequence[Scored]) -> str:
    """Give a row for each scenario with users: their pace, and what was lost, predicted and measured."""
    lines = [
        "| scenario | runs | window s | transactions/s | lost by waiting: predicted / measured, ± | by counting, ± | "
        "inside 80 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in scored:
        seen = compared(s)
        if seen.empty:
            continue
        middle = seen.median(numeric_only=True)
        lines.append(
            f"| {s.name} | {len(seen)} | {middle['window_s']:.0f} | {middle['long_run_per_s']:.0f} | "
            f"{middle['predicted_lost']:.0f} [{middle['low']:.0f}..{middle['high']:.0f}] / "
            f"{middle['lost']:.0f} "
            f"[{seen['lost'].min():.0f}..{seen['lost'].max():.0f}] ± {middle['lost_sd']:.0f} | "
            f"{middle['lost_by_count']:.0f} ± {middle['lost_by_count_sd']:.0f} | "
            f"{int(np.sum(seen['inside']))} of {len(seen)} |"
        )
    return "\n".join(lines)
