"""``migsim size``: the least (or greatest) value of one setting that meets requirements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.study import (
    Deadline,
    Host,
    Jobs,
    Link,
    Load,
    QemuVersionOption,
    RingSize,
    Seed,
    Settings,
    TraceFile,
)

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.study.size.search import Sizing

__all__ = ["size"]

IMPOSSIBLE = 4


def size(
    trace: TraceFile,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE<LIMIT",
            help="What has to hold: downtime<500ms, total-time<10min, transferred<20GiB, guest-lost<2s, "
            "outcome=completed. May be given several times.",
        ),
    ] = None,
    minimise: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=LOW:HIGH]",
            help="What is looked for, as small as it may be: max-bandwidth, downtime-limit, xbzrle-cache-size, "
            "max-cpu-throttle, multifd-channels ...",
        ),
    ] = None,
    maximise: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[=LOW:HIGH]", help="What is looked for, as large as it may be: writes-scale ..."
        ),
    ] = None,
    confidence: Annotated[
        str, typer.Option(metavar="SHARE", help="Share of the draws in which all requirements have to hold.")
    ] = "80%",
    host: Host = None,
    qemu_version: QemuVersionOption = None,
    settings: Settings = None,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Simulated migrations a value.")] = 40,
    seed: Seed = 1,
    jobs: Jobs = 1,
    link: Link = None,
    load: Load = "100%",
    dirty_ring_size: RingSize = 0,
    deadline: Deadline = "30min",
    output_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="table|json", help="json is one object with the value in QAPI's unit."
        ),
    ] = "table",
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the figures over the value, with their limits.")
    ] = None,
) -> None:
    """Find the least value of one setting with which a traced guest's migration keeps to what is required.

    The exit code is 4 when no value does: then it says which requirement binds, and the best that can be reached.

    Example: migsim size db.trace --require "downtime<500ms" --require "total-time<10min" --minimise max-bandwidth
    """
    import json

    from migsim.cli.console import progress, stdout_console
    from migsim.cli.options import one_of, share
    from migsim.cli.study import guest_and_host
    from migsim.errors import UsageError
    from migsim.plot.picture import check_picture
    from migsim.study.size.requirement import read_requirements
    from migsim.study.size.search import size as run

    one_of(output_format, ("table", "json"), option="--format")
    if (minimise is None) == (maximise is None):
        raise UsageError(
            "Exactly one of --minimise and --maximise is needed.",
            "One value is looked for.",
            "Add --minimise max-bandwidth.",
        )
    if jobs == 0:
        raise UsageError("--jobs is 0.", "It counts processes; -1 is one a processor.", "Give 1 or more.")
    read_requirements(require or [])
    if picture:
        check_picture(picture)
    guest, shared = guest_and_host(
        trace,
        host,
        qemu_version,
        link=link,
        load=load,
        dirty_ring_size=dirty_ring_size,
        deadline=deadline,
    )
    with progress("simulating") as update:
        made = run(
            guest,
            require=require or [],
            minimise=minimise,
            maximise=maximise,
            set=settings or [],
            confidence=share(confidence, option="--confidence"),
            draws=draws,
            seed=seed,
            jobs=jobs,
            progress=update,
            **shared,
        )
    if picture:
        from migsim.plot.size import save_sizing

        save_sizing(made, picture)
    if output_format == "json":
        print(json.dumps(made.to_json_object(), indent=2))
    else:
        _print(made, stdout_console())
    if made.value is None:
        raise typer.Exit(IMPOSSIBLE)


def _print(made: Sizing, console: Console) -> None:
    """Print the answer, how far each requirement is met about it, and what is worth knowing."""
    from rich.table import Table

    from migsim.units import format_value

    console.print(made.reason, markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column(made.axis.name, justify="right")
    for requirement in made.requirements:
        table.add_column(str(requirement), justify="right")
    table.add_column("all", justify="right")
    for row in made.shown_rows():
        shares = [f"{row[name]:.0%}" for name in (*map(str, made.requirements), "met")]
        mark = "bold" if row["value"] == made.value else ""
        table.add_row(format_value(row["value"], made.axis.unit), *shares, style=mark)
    console.print(table)
    for note in made.notes:
        console.print(f"note: {note}", style="dim", markup=False)
