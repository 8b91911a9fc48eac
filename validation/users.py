"""Transactions that the users of a Linux guest lost by a migration, predicted and measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from migsim.calibrate.users import fit_loop
from migsim.errors import MigsimError
from migsim.results.transactions import transactions
from migsim.study.users_compared import compare_guest_performance
from validation.scores import Scored

__all__ = ["compare_users", "users_table"]


def compare_users(case: Scored) -> pd.DataFrame:
    """Compare each run of a scenario whose guest reports its transactions; empty for other guests.

    The users' demands come from what each run's guest reports before its migration.
    """
    linux = case.scenario.guest.linux
    if linux is None:
        return pd.DataFrame()
    rows = []
    for run in case.runs:
        try:
            fit = fit_loop(transactions(run), users=linux.users, think_s=linux.think_s)
            rows.append(compare_guest_performance(case.prediction, fit, run))
        except MigsimError:  # the guest reported nothing; the scenario's verdict shows it
            continue
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def users_table(scored: Sequence[Scored]) -> str:
    """Compose a table with a row for each scenario with users: pace and lost transactions, predicted and measured."""
    lines = [
        "| scenario | runs | window s | transactions/s | lost by waiting: predicted / measured, ± | by counting, ± | "
        "inside 80 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in scored:
        runs = compare_users(case)
        if runs.empty:
            continue
        middle = runs.median(numeric_only=True)
        lines.append(
            f"| {case.name} | {len(runs)} | {middle['window_s']:.0f} | {middle['long_run_per_s']:.0f} | "
            f"{middle['predicted_lost']:.0f} [{middle['low']:.0f}..{middle['high']:.0f}] / "
            f"{middle['lost']:.0f} "
            f"[{runs['lost'].min():.0f}..{runs['lost'].max():.0f}] ± {middle['lost_sd']:.0f} | "
            f"{middle['lost_by_count']:.0f} ± {middle['lost_by_count_sd']:.0f} | "
            f"{int(np.sum(runs['inside']))} of {len(runs)} |"
        )
    return "\n".join(lines)
