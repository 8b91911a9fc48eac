"""``migsim size``: the least (or greatest) value of one setting that meets requirements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.question import guest_command
from migsim.study.question import Question

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.study.size.search import Sizing

__all__ = ["size"]

IMPOSSIBLE = 4
"""Exit code where no value meets the requirements."""


@guest_command()
def size(
    question: Question,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE<LIMIT",
            help="A requirement: downtime<500ms, total-time<10min, transferred<20GiB, guest-lost<2s or "
            "outcome=completed. May be given several times.",
        ),
    ] = None,
    minimise: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=LOW:HIGH]",
            help="Find the least value of: max-bandwidth, downtime-limit, xbzrle-cache-size, max-cpu-throttle, "
            "multifd-channels ...",
        ),
    ] = None,
    maximise: Annotated[
        str | None,
        typer.Option(metavar="NAME[=LOW:HIGH]", help="Find the greatest value of: writes-scale ..."),
    ] = None,
    confidence: Annotated[
        str, typer.Option(metavar="SHARE", help="Share of the draws that has to meet all requirements.")
    ] = "80%",
    jobs: Annotated[
        int, typer.Option(min=-1, metavar="N", help="Number of processes; -1 for one per processor.")
    ] = 1,
    output_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="table|json", help="json is one object, with the value in QAPI's unit."
        ),
    ] = "table",
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the figures over the value, with their limits."),
    ] = None,
) -> None:
    """Find the least or greatest value of one setting with which a traced guest's migration meets requirements.

    Where no value does, the exit code is 4, and the answer names the requirement that binds and the best figure that
    can be reached.

    Example: migsim size db.trace --require "downtime<500ms" --require "total-time<10min" --minimise max-bandwidth
    """
    import json

    from migsim.cli.console import progress, stdout_console, write
    from migsim.cli.options import one_of
    from migsim.errors import UsageError
    from migsim.plot.picture import check_picture
    from migsim.study.size.requirement import read_requirements
    from migsim.study.size.search import size as run

    one_of(output_format, ("table", "json"), option="--format")
    if (minimise is None) == (maximise is None):
        raise UsageError(
            "Exactly one of --minimise and --maximise is needed.",
            "A sizing searches one value.",
            "Add --minimise max-bandwidth.",
        )
    if jobs == 0:
        raise UsageError(
            "--jobs is 0.", "It counts processes; -1 means one per processor.", "Give 1 or more, or -1."
        )
    read_requirements(require or [])
    if picture:
        check_picture(picture)
    with progress("simulating") as update:
        sizing = run(
            question,
            require=require or [],
            minimise=minimise,
            maximise=maximise,
            confidence=confidence,
            jobs=jobs,
            progress=update,
        )
    if picture:
        from migsim.plot.size import save_sizing

        save_sizing(sizing, picture)
    if output_format == "json":
        write(json.dumps(sizing.to_json_object(), indent=2))
    else:
        _print(sizing, stdout_console())
    if sizing.value is None:
        raise typer.Exit(IMPOSSIBLE)


def _print(sizing: Sizing, console: Console) -> None:
    """Print the answer, the share of draws that meets each requirement around it, the notes and the assumptions."""
    from rich.table import Table

    from migsim.report.tables import basis_lines
    from migsim.units import format_value

    console.print(sizing.reason)
    table = Table(box=None, pad_edge=False)
    table.add_column(sizing.axis.name, justify="right")
    for requirement in sizing.requirements:
        table.add_column(str(requirement), justify="right")
    table.add_column("all", justify="right")
    for row in sizing.shown_rows():
        shares = [f"{row[name]:.0%}" for name in (*map(str, sizing.requirements), "met")]
        mark = "bold" if row["value"] == sizing.value else ""
        table.add_row(format_value(row["value"], sizing.axis.unit), *shares, style=mark)
    console.print(table)
    for note in sizing.notes:
        console.print(f"note: {note}", style="dim")
    basis_lines(sizing.basis, sizing.assumptions, console)
