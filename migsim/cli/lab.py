"""``migsim lab``: run real migrations and record them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from migsim.results import MigrationResult

app = typer.Typer(
    name="lab",
    help="Run real migrations and record them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Keep `migrate` a sub-command while it is the only one."""


@app.command()
def migrate(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="What to run.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RECORD.json", help="The record to write.")
    ],
    repeat: Annotated[
        int, typer.Option(min=1, metavar="N", help="Run it N times: RECORD-1.json, RECORD-2.json, ...")
    ] = 1,
    ready_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long the guest may take to fill its memory.")
    ] = "180s",
) -> None:
    """Start the scenario's guest, migrate it for real, write what was seen.

    Both QEMU processes are ended whatever happens. A migration that does not converge is a result.
    """
    from migsim.cli.console import progress
    from migsim.lab.migrate import run_migration
    from migsim.scenario import LabScenario
    from migsim.units import parse_duration_s

    ready_timeout_s = parse_duration_s(ready_timeout, field="--ready-timeout")
    declared = LabScenario.load(scenario)
    outputs = _outputs(output, repeat)
    command = shlex.join(["migsim", *sys.argv[1:]])
    results = []
    for target in outputs:
        with progress(declared.name) as update:
            result = run_migration(
                declared,
                progress=lambda info, update=update: update(None, _note(info)),
                ready_timeout_s=ready_timeout_s,
                command=command,
            )
        result.save(target)
        results.append((target, result))
    _print(results)


def _outputs(output: Path, repeat: int) -> list[Path]:
    """Return the files to write; fail before the first run where they could not be written."""
    from migsim.files import atomic_path

    if repeat == 1:
        targets = [output]
    else:
        targets = [output.with_name(f"{output.stem}-{n}{output.suffix}") for n in range(1, repeat + 1)]
    probe = output.with_name(f".{output.name}.probe")
    with atomic_path(probe):
        pass
    probe.unlink()
    return targets


def _note(info: dict[str, Any]) -> str:
    from migsim.units import format_bytes

    ram = info.get("ram", {})
    if not ram:
        return str(info.get("status", ""))
    return (
        f"{info.get('status')} {info.get('total-time', 0) / 1000:.0f} s, sync {ram.get('dirty-sync-count', 0)}, "
        f"{format_bytes(ram.get('remaining', 0))} left"
    )


def _print(results: list[tuple[Path, MigrationResult]]) -> None:
    from rich.table import Table

    from migsim.cli.console import stdout_console

    table = Table(box=None, pad_edge=False)
    table.add_column("record", no_wrap=True)
    table.add_column("outcome")
    for name in ("total s", "downtime ms", "blackout ms", "syncs", "sent MiB", "machine busy"):
        table.add_column(name, justify="right")
    for path, result in results:
        numbers = (
            (result.total_time_ms / 1000, ".2f"),
            (result.downtime_ms, ".0f"),
            (result.blackout_ms, ".1f"),
            (result.rounds, ".0f"),
            (result.transferred_bytes / 2**20, ".0f"),
            (result.host_load.get("busy_fraction", float("nan")), ".0%"),
        )
        cells = ("-" if value != value else format(value, form) for value, form in numbers)
        table.add_row(path.name, result.verdict, *cells)
    console = stdout_console()
    console.print(table)
    for path, result in results:
        if result.outcome.reason:
            console.print(f"{path.name}: {result.outcome.reason}")
