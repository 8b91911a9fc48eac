"""How the engines' time grows with RAM, with the write rate and with the number of cells: tables and log-log plots.

    python -m benchmarks.growth [-o build/growth.png] [--repeats 3]

The event engine migrates the OLTP guest of `benchmarks.guests` (10 Gbit/s, 4 s) with 1 GiB to 16 TiB, and at 128 GiB
with users that are a tenth to a hundred times as busy. The batch engine runs the grid of `benchmarks.batch`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.batch import grid
from benchmarks.event_engine import count_events
from benchmarks.guests import GIB, oltp, precopy
from benchmarks.timing import ROOT, median_s
from migsim.engine.events.precopy import simulate
from migsim.files import write_text_atomically

Rows = list[tuple[float, float, float]]
"""Rows of a table: the size that grows, seconds, and events or cells a second."""

RAM_GIB = (1, 4, 16, 64, 128, 256, 1024, 4096, 16384)
BUSIER = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
CELLS = (1, 10, 100, 1_000, 10_000, 100_000)
DEADLINE_S = 3600.0


def by_ram(repeats: int, *, all_written: bool = False) -> Rows:
    """Seconds and events of the event engine by RAM."""
    rows = []
    for gib in RAM_GIB:
        migration = precopy(oltp(gib * GIB, all_written=all_written))
        seconds = median_s(f"{gib} GiB", lambda migration=migration: simulate(migration), repeats)
        rows.append((gib, seconds, count_events(migration)))
    return rows


def by_write_rate(repeats: int) -> Rows:
    """Seconds and events of the event engine by the bytes that the guest writes a second."""
    rows = []
    for busier in BUSIER:
        workload = oltp(128 * GIB, busier=busier)
        migration = precopy(workload, deadline_s=DEADLINE_S)
        writes_per_s = sum(each.pages * each.writes_per_page_per_s for each in workload.classes)
        written_mb = writes_per_s * 4096 / 1e6
        seconds = median_s(f"{written_mb:.0f} MB/s", lambda migration=migration: simulate(migration), repeats)
        rows.append((written_mb, seconds, count_events(migration)))
    return rows


def by_cells(repeats: int) -> Rows:
    """Seconds and cells a second of the batch engine by the number of cells."""
    rows = []
    for cells in CELLS:
        seconds = median_s(f"{cells} cells", lambda cells=cells: grid("precopy", cells), repeats)
        count = len(grid("precopy", cells))
        rows.append((count, seconds, count / seconds))
    return rows


KINDS: dict[str, tuple[Callable[[int], Rows], str, str]] = {
    "event engine, by RAM": (by_ram, "RAM [GiB]", "events"),
    "event engine, by RAM, all shared memory written": (
        lambda repeats: by_ram(repeats, all_written=True),
        "RAM [GiB]",
        "events",
    ),
    "event engine, 128 GiB, by write rate": (by_write_rate, "writes [MB/s]", "events"),
    "batch engine, by cells": (by_cells, "cells", "cells a second"),
}


def table(title: str, x_label: str, counted: str, rows: Rows) -> str:
    """Write rows as a Markdown table."""
    lines = [f"{title}", "", f"| {x_label} | s | {counted} |", "|---:|---:|---:|"]
    lines += [f"| {x:,.4g} | {seconds:.4g} | {count:,.0f} |" for x, seconds, count in rows]
    return "\n".join([*lines, ""])


def draw(measured: dict[str, Rows], path: Path) -> None:
    """Draw seconds, and events or cells a second, against the size that grows, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for ax, (title, rows) in zip(axes.flat, measured.items(), strict=True):
        _, x_label, counted = KINDS[title]
        xs, seconds, counts = zip(*rows, strict=True)
        ax.loglog(xs, seconds, "ko-", label="seconds")
        ax.set(title=title, xlabel=x_label, ylabel="seconds")
        counts_ax = ax.twinx()
        counts_ax.loglog(xs, counts, "s--", color="tab:blue", label=counted)
        counts_ax.set_ylabel(counted, color="tab:blue")
        ax.grid(which="both", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "growth.png")
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    measured = {title: measure(given.repeats) for title, (measure, _, _) in KINDS.items()}
    text = "\n".join(table(title, *KINDS[title][1:], rows) for title, rows in measured.items())
    draw(measured, given.output)
    write_text_atomically(given.output.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
