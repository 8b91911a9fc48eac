"""``migsim sensitivity``: the uncertain inputs that a predicted figure depends on most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.question import guest_command
from migsim.study.question import Question

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.study.sensitivity import Sensitivity

__all__ = ["sensitivity"]

SHOWN_INDEX = 0.005
"""Least total index (upper end of its interval) of an input that the table shows."""


@guest_command(draws=None)
def sensitivity(
    question: Question,
    of: Annotated[
        str,
        typer.Option(
            metavar="FIGURE",
            help="downtime, total-time, transferred, guest-lost, blackout, rounds, or outcome (whether it completes).",
        ),
    ] = "downtime",
    samples: Annotated[
        int,
        typer.Option(
            min=2, metavar="N", help="A power of two; some N (inputs + 2) migrations are simulated."
        ),
    ] = 128,
    output_format: Annotated[
        str, typer.Option("--format", metavar="table|json|csv", help="csv has one row per input.")
    ] = "table",
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw a tornado: one bar per input.")
    ] = None,
) -> None:
    """Rank the uncertain inputs by their share in the variance of one figure of a traced guest's migration.

    Inputs are the measured host terms, the factor that they have in common, and the traced guest's activity. `total` is
    the share of the variance that stays when all inputs but this one are known.

    Example: migsim sensitivity db.trace --of downtime --set max-bandwidth=10Gbps --picture tornado.png
    """
    import json

    from migsim.cli.console import progress, stdout_console, write
    from migsim.cli.options import one_of
    from migsim.plot.picture import check_picture
    from migsim.study.sensitivity import sensitivity as run

    one_of(output_format, ("table", "json", "csv"), option="--format")
    if picture:
        check_picture(picture)
    with progress("simulating") as update:
        answer = run(
            question,
            of=of,
            samples=samples,
            progress=lambda done, total: update(done, f"{done:,} of {total:,} migrations", total),
        )
    if picture:
        from migsim.plot.tornado import save_tornado

        save_tornado(answer, picture)
    if output_format == "json":
        write(json.dumps(answer.to_json_object(), indent=2))
    elif output_format == "csv":
        write(answer.table.to_csv(index=False).rstrip("\n"))
    else:
        _print(answer, stdout_console())


def _print(answer: Sensitivity, console: Console) -> None:
    """Print the inputs, the one that matters most first."""
    from rich.table import Table

    from migsim.report.tables import basis_lines
    from migsim.units import format_value

    low, high = (format_value(end, answer.unit) for end in answer.interval)
    console.print(
        f"{answer.figure}: {format_value(answer.median, answer.unit)} at the medians, 80 % from {low} to {high}; "
        f"chance in the dirty counts is {answer.chance_fraction:.0%} of the variance; "
        f"{answer.completed_fraction:.0%} of the samples complete."
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("input", "", "at its 10 %", "at its 90 %", "first order", "total", "80 % interval"):
        table.add_column(heading, justify="left" if heading in ("input", "") else "right")
    rows = answer.table.to_dict("records")
    shown = [row for row in rows if row["total-high"] >= SHOWN_INDEX]
    for row in shown:
        table.add_row(
            row["input"],
            row["meaning"],
            format_value(row["low"], answer.unit),
            format_value(row["high"], answer.unit),
            f"{row['first']:.2f}",
            f"{row['total']:.2f}",
            f"{row['total-low']:.2f} .. {row['total-high']:.2f}",
        )
    console.print(table)
    if len(shown) < len(rows):
        console.print(
            f"{len(rows) - len(shown)} other inputs matter less (--format csv has all).", style="dim"
        )
    for note in answer.notes:
        console.print(f"note: {note}", style="dim")
    basis_lines(answer.basis, answer.assumptions, console)
