"""One simulated migration for the terminal: its figures, then round by round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.results import cache_hit_rate
from migsim.units import format_bytes, format_duration_s

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.results import MigrationResult

__all__ = ["MOST_ROUNDS", "replay_table"]

MOST_ROUNDS = 24
"""Of more rounds the first and the last are shown."""


def replay_table(made: MigrationResult, console: Console) -> None:
    """Print a simulated migration: verdict, figures, rounds, assumptions."""
    completed = made.outcome.status == "completed"
    word = "converges" if completed else "does not converge"
    console.print(f"[bold]{word}[/bold]. {made.outcome.reason}")
    figures = [
        ("total-time", format_duration_s(made.total_time_ms / 1000)),
        ("downtime", format_duration_s(made.downtime_ms / 1000) if completed else "-"),
        ("guest loses in all", format_duration_s(made.costs.get("guest-lost-s", 0.0))),
        ("ram.transferred", format_bytes(int(made.transferred_bytes))),
        ("ram.dirty-sync-count", f"{made.rounds:.0f}"),
    ]
    if "xbzrle-cache" in made.info:
        found = made.info["xbzrle-cache"]
        figures.append(("cache hit rate", f"{cache_hit_rate(made.info):.1%}"))
        figures.append(("pages encoded, overflown", f"{found['pages']:,}, {found['overflow']:,}"))
    for label, value in figures:
        console.print(f"{label:26}{value}", highlight=False)
    _print_rounds(made, console)
    for note in made.scenario["assumptions"]:
        console.print(f"assumed: {note}", style="dim")


def _print_rounds(made: MigrationResult, console: Console) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("round", "begins", "lasts", "dirty pages found", "pages sent", "sent"):
        table.add_column(heading, justify="right")
    rows = made.iterations
    shown = (
        rows
        if len(rows) <= MOST_ROUNDS
        else rows.iloc[[*range(MOST_ROUNDS // 2), *range(-MOST_ROUNDS // 2, 0)]]
    )
    before = 0
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
        if number > before + 1:
            table.add_row("...", *[""] * 5)
        before = number
        table.add_row(
            f"{number:.0f}",
            f"{start_s:.2f} s",
            format_duration_s(max(end_s - start_s, 0.0)),
            f"{dirty:,.0f}",
            f"{normal + duplicate:,.0f}",
            format_bytes(int(sent)),
        )
    console.print(table)
