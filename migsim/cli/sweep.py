"""``migsim sweep``: a guest's migration under many settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.question import guest_command
from migsim.study.question import Question

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.study.scaling import GuestSize
    from migsim.study.sweep.run import Sweep

__all__ = ["sweep"]


@guest_command(draws=1)
def sweep(
    question: Question,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where the cells go: .parquet, .nc or .csv."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="What varies: max-bandwidth=1Gbps:25Gbps:20 (add :log for equal ratios), downtime-limit=50,300,2000, "
            "xbzrle=on|off; a setting of QEMU, writes-scale, load, link, guest-ram, a host term. May be given several "
            "times.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="So many points of a Sobol sequence over the ranges, instead of a grid."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=-1, metavar="N", help="Processes; -1 is one a processor.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Let the workers of this Dask scheduler do it, as tcp://HOST:8786."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where finished cells are kept, also after the end; else FILE.cells, which goes when FILE is written.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|events", help="events: simulate each draw as `migsim predict` does; slower."
        ),
    ] = "auto",
    users: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Users of the traced guest's database; guest-ram needs to know."
        ),
    ] = None,
    transactions: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Transactions a second that they completed while it was traced; likewise."
        ),
    ] = None,
    buffers: Annotated[
        str, typer.Option(metavar="SHARE", help="How much of its memory the database's buffers take.")
    ] = "40%",
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw verdict, total time and downtime over what varies."),
    ] = None,
) -> None:
    """Predict the migration of a traced guest for every combination of some values.

    A killed sweep, started again, goes on where it was. A cell that QEMU would refuse is an error with a reason.

    Example: migsim sweep db.trace --vary max-bandwidth=1Gbps:25Gbps:20 --vary downtime-limit=50,300 -o sweep.parquet
    """
    from migsim.cli.console import progress, stderr_console, stdout_console
    from migsim.cli.options import command_line, named_values, one_of
    from migsim.errors import UsageError
    from migsim.plot.picture import check_picture
    from migsim.study.sweep.data import check_sweep_file
    from migsim.study.sweep.run import sweep as run

    varied = named_values(vary or [], option="--vary", example="max-bandwidth=1Gbps:25Gbps:20")
    if not varied:
        raise UsageError("No --vary is given.", "A sweep varies something.", "Add --vary NAME=VALUES.")
    if jobs == 0:
        raise UsageError("--jobs is 0.", "It counts processes; -1 is one a processor.", "Give 1 or more.")
    check_sweep_file(output)
    if picture:
        check_picture(picture)
    traced = _traced(question, users, transactions, buffers)
    with _cells_folder(output, folder) as kept, progress("simulating") as update:
        swept = run(
            question,
            vary=varied,
            samples=samples,
            jobs=jobs,
            cluster=cluster,
            folder=kept,
            traced=traced,
            engine="events" if one_of(engine, ("auto", "events"), option="--engine") == "events" else "auto",
            command=command_line(),
            progress=lambda done, of: update(done, f"{done:,} of {of:,} cells", of),
        )
        swept.save(output)
    if picture:
        from migsim.plot.sweep import save_sweep

        save_sweep(swept, picture)
    for note in swept.notes:
        stderr_console().print(f"migsim: {note}", style="dim", markup=False)
    _print(swept, output, stdout_console())


def _traced(
    question: Question, users: int | None, transactions: float | None, buffers: str
) -> GuestSize | None:
    """What the traced guest was, where its users and transactions are given."""
    from migsim.cli.options import share
    from migsim.errors import UsageError
    from migsim.study.scaling import GuestSize

    if users is None and transactions is None:
        return None
    if users is None or transactions is None:
        raise UsageError(
            "One of --users and --transactions is given.",
            "Pages are told apart by how often a user's transaction writes them.",
            "Give both, or neither.",
        )
    return GuestSize(
        question.workload().ram_bytes,
        vcpus=question.vcpus,
        users=users,
        transactions_per_s=transactions,
        buffers_fraction=share(buffers, option="--buffers"),
    )


@contextlib.contextmanager
def _cells_folder(output: Path, folder: Path | None) -> Iterator[Path]:
    """Where finished cells are kept; a folder that nobody asked for goes when the block ends well."""
    from migsim.study.sweep.store import remove_pieces

    own = output.with_name(output.name + ".cells")
    yield folder or own
    if folder is None:
        remove_pieces(own)


def _print(swept: Sweep, output: Path, console: Console) -> None:
    """Print what came out: verdicts, the range of each figure, the reasons of errors, what was assumed."""
    from rich.table import Table

    console.print(f"{swept!r}"[1:-1].removeprefix("Sweep "), markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "unit", "least", "median", "most"):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right")
    for row in swept.ranges():
        if row[2] != "-":
            table.add_row(*row)
    console.print(table)
    for reason, count in swept.error_reasons().items():
        console.print(f"error, {count:,} cells: {reason}", markup=False)
    for note in swept.assumptions:
        console.print(f"assumed: {note}", style="dim", markup=False)
    console.print(f"written: {output}", markup=False)
