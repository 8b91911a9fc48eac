"""Table of one simulated migration for a terminal: its figures, then its rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.report.tables import basis_lines
from migsim.results import cache_hit_rate
from migsim.study.basis import Basis
from migsim.units import format_bytes, format_duration_s

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.results import MigrationResult

__all__ = ["MOST_ROUNDS", "replay_table"]

MOST_ROUNDS = 24
"""Most rounds that are shown; of more, only the first and the last are."""


def replay_table(result: MigrationResult, console: Console) -> None:
    """Print a simulated migration: verdict, figures, rounds, what it stands on."""
    from rich.text import Text

    completed = result.outcome.status == "completed"
    word = "converges" if completed else "does not converge"
    console.print(Text.assemble((word, "bold"), f". {result.outcome.reason}"))
    figures = [
        ("total-time", format_duration_s(result.total_time_ms / 1000)),
        ("downtime", format_duration_s(result.downtime_ms / 1000) if completed else "-"),
        ("guest loses in all", format_duration_s(result.costs.get("guest-lost-s", 0.0))),
        ("ram.transferred", format_bytes(int(result.transferred_bytes))),
        ("ram.dirty-sync-count", f"{result.rounds:.0f}"),
    ]
    if "xbzrle-cache" in result.info:
        cache = result.info["xbzrle-cache"]
        figures.append(("cache hit rate", f"{cache_hit_rate(result.info):.1%}"))
        figures.append(("pages encoded, overflown", f"{cache['pages']:,}, {cache['overflow']:,}"))
    for label, value in figures:
        console.print(f"{label:26}{value}", highlight=False)
    _print_rounds(result, console)
    basis_lines(Basis.from_dict(result.scenario["basis"]), result.scenario["assumptions"], console)


def _print_rounds(result: MigrationResult, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("round", "begins", "lasts", "dirty pages found", "pages sent", "sent"):
        table.add_column(heading, justify="right")
    rows = result.iterations
    shown = (
        rows
        if len(rows) <= MOST_ROUNDS
        else rows.iloc[[*range(MOST_ROUNDS // 2), *range(-MOST_ROUNDS // 2, 0)]]
    )
    previous = 0
    names = [
        "dirty_sync_count",
        "start_s",
        "end_s",
        "dirty_pages",
        "normal",
        "duplicate",
        "transferred_bytes",
    ]
    for number, start_s, end_s, dirty, normal, duplicate, sent in shown[names].to_numpy(float).tolist():
        if number > previous + 1:
            table.add_row("...", *[""] * 5)
        previous = number
        table.add_row(
            f"{number:.0f}",
            f"{start_s:.2f} s",
            format_duration_s(max(end_s - start_s, 0.0)),
            f"{dirty:,.0f}",
            f"{normal + duplicate:,.0f}",
            format_bytes(int(sent)),
        )
    console.print(table)
