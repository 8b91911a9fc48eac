"""``migsim sweep``: the predicted migration of a traced guest under many settings."""

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
        typer.Option("-o", "--output", metavar="FILE", help="File for the cells: .parquet, .nc or .csv."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="A quantity and its values: max-bandwidth=1Gbps:25Gbps:20 (:log after it for equal ratios), "
            "downtime-limit=50,300,2000, xbzrle=on|off. A QEMU setting, writes-scale, load, link, guest-ram or a host "
            "term. May be given several times.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="N points of a Sobol sequence over the ranges, in place of a grid."
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=-1, metavar="N", help="Number of processes; -1 for one per processor.")
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Dask scheduler whose workers simulate the cells, as tcp://HOST:8786."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder that keeps finished cells, also after the sweep; by default FILE.cells, removed when FILE is "
            "written.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|events",
            help="events simulates each draw as `migsim predict` does, which is slower.",
        ),
    ] = "auto",
    users: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Users of the traced guest's database; needed where guest-ram varies."
        ),
    ] = None,
    transactions: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Transactions a second that these users completed during the trace; needed where guest-ram varies.",
        ),
    ] = None,
    buffers: Annotated[
        str, typer.Option(metavar="SHARE", help="Share of the guest's memory in the database's buffers.")
    ] = "40%",
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw outcome, total time and downtime over the values."),
    ] = None,
) -> None:
    """Predict the migration of a traced guest for every combination of some values.

    A killed sweep, started again, continues from its finished cells. A cell that QEMU would refuse is an error with a
    reason.

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
        raise UsageError("No --vary is given.", "A sweep has at least one axis.", "Add --vary NAME=VALUES.")
    if jobs == 0:
        raise UsageError(
            "--jobs is 0.", "It counts processes; -1 means one per processor.", "Give 1 or more, or -1."
        )
    check_sweep_file(output)
    if picture:
        check_picture(picture)
    traced = _traced(question, users, transactions, buffers)
    with _cells_folder(output, folder) as cells_folder, progress("simulating") as update:
        result = run(
            question,
            vary=varied,
            samples=samples,
            jobs=jobs,
            cluster=cluster,
            folder=cells_folder,
            traced=traced,
            engine="events" if one_of(engine, ("auto", "events"), option="--engine") == "events" else "auto",
            command=command_line(),
            progress=lambda done, of: update(done, f"{done:,} of {of:,} cells", of),
        )
        result.save(output)
    if picture:
        from migsim.plot.sweep import save_sweep

        save_sweep(result, picture)
    for note in result.notes:
        stderr_console().print(f"migsim: {note}", style="dim")
    _print(result, output, stdout_console())


def _traced(
    question: Question, users: int | None, transactions: float | None, buffers: str
) -> GuestSize | None:
    """Return the traced guest's size, where its users and transactions are given."""
    from migsim.errors import UsageError
    from migsim.study.quantities import read_share
    from migsim.study.scaling import GuestSize

    if users is None and transactions is None:
        return None
    if users is None or transactions is None:
        raise UsageError(
            "Only one of --users and --transactions is given.",
            "The rule for guest-ram needs both: it tells pages apart by how often a user's transaction writes them.",
            "Give both, or neither.",
        )
    return GuestSize(
        question.workload().ram_bytes,
        vcpus=question.vcpus,
        users=users,
        transactions_per_s=transactions,
        buffers_fraction=read_share("buffers", buffers),
    )


@contextlib.contextmanager
def _cells_folder(output: Path, folder: Path | None) -> Iterator[Path]:
    """Yield the folder of finished cells; the default one is removed when the block ends without an error."""
    from migsim.study.sweep.store import remove_pieces

    default = output.with_name(output.name + ".cells")
    yield folder or default
    if folder is None:
        remove_pieces(default)


def _print(result: Sweep, output: Path, console: Console) -> None:
    """Print the outcomes, the range of each figure, the reasons of errors, and the assumptions."""
    from rich.table import Table

    from migsim.report.tables import basis_lines

    console.print(f"{result!r}"[1:-1].removeprefix("Sweep "))
    table = Table(box=None, pad_edge=False)
    for heading in ("", "unit", "least", "median", "most"):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right")
    for row in result.ranges():
        if row[2] != "-":
            table.add_row(*row)
    console.print(table)
    for reason, count in result.error_reasons().items():
        console.print(f"error, {count:,} cells: {reason}")
    basis_lines(result.basis, result.assumptions, console)
    console.print(f"written: {output}")
