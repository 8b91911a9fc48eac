"""``migsim lab``: run real migrations and record them."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from migsim.results import MigrationResult
    from migsim.scenario import LabScenario

app = typer.Typer(
    name="lab",
    help="Run real migrations and record them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long the guest may take to fill its memory, as 180s (the default; a Linux guest 900s).",
        ),
    ] = None,
    users_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of a Linux guest's users instead of the scenario's; each repeat's is one higher.",
        ),
    ] = None,
) -> None:
    """Start the scenario's guest, migrate it for real, write what was seen.

    Both QEMU processes are ended whatever happens. A migration that does not converge is a result: exit code 0,
    and the record says so.

    Example: migsim lab migrate kvm-4g.toml -o kvm-4g.json --repeat 3
    """
    from migsim.cli.console import progress
    from migsim.cli.options import positive_duration_s
    from migsim.lab.migrate import run_migration
    from migsim.scenario import LabScenario

    ready_timeout_s = (
        None if ready_timeout is None else positive_duration_s(ready_timeout, option="--ready-timeout")
    )
    declared = LabScenario.load(scenario)
    _with_users_seed(declared, users_seed, 0)
    outputs = _outputs(output, repeat)
    command = shlex.join(["migsim", *sys.argv[1:]])
    results = []
    for number, target in enumerate(outputs):
        with progress(declared.name) as update:
            result = run_migration(
                _with_users_seed(declared, users_seed, number),
                progress=_Noting(update),
                ready_timeout_s=ready_timeout_s,
                command=command,
            )
        result.save(target)
        results.append((target, result))
    _print(results)


@app.command()
def trace(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="Whose guest to trace.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The trace to write.")],
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="auto, dirty-rate, stream or dirty-ring.")
    ] = "auto",
    duration: Annotated[str, typer.Option(metavar="TIME", help="How long, as 30s or 2min.")] = "30s",
    dirty_ring_size: Annotated[
        int | None, typer.Option(metavar="N", help="Start the guest with a dirty ring of N entries.")
    ] = None,
) -> None:
    """Start the scenario's guest, trace it, end it.

    The trace keeps what the guest was told to do, so that records of the same guest find it.

    Example: migsim lab trace kvm-4g.toml -o kvm-4g.trace --method stream --duration 60s
    """
    from migsim.cli.console import progress
    from migsim.cli.options import one_of, positive_duration_s
    from migsim.files import check_writable
    from migsim.lab.running import running_guest
    from migsim.scenario import LabScenario, MigrationSettings
    from migsim.tracer import record_trace
    from migsim.tracer.auto import METHODS

    one_of(method, METHODS, option="--method")
    duration_s = positive_duration_s(duration, option="--duration")
    check_writable(output)
    declared = LabScenario.load(scenario)
    if dirty_ring_size is not None:
        qemu = declared.qemu.replace(dirty_ring_size=dirty_ring_size)
        declared = declared.replace(qemu=qemu, migration=MigrationSettings())  # nothing is migrated
    with running_guest(declared) as guest, progress("tracing", total=duration_s) as update:
        recording = record_trace(
            guest.socket,
            output,
            method=method,
            duration_s=duration_s,
            command=shlex.join(["migsim", *sys.argv[1:]]),
            guest=declared.guest.as_dict(),
            progress=update,
            self_check=guest.self_check,
        )
    print(f"{output} holds {recording.contents}")


@app.command("build-guest")
def build_guest(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where the image goes (the default is where it is looked for: $MIGSIM_LINUX_GUEST, "
            "or build/linux-guest of the project).",
        ),
    ] = None,
) -> None:
    """Build the Linux guest with its database from Debian packages.

    Scenarios of a Linux guest (guest.linux) need it. An image that stands there already is kept while it is whole
    and its sources are today's.

    Example: migsim lab build-guest -o build/linux-guest
    """
    import os
    import time

    from migsim.errors import HostError
    from migsim.lab.linux_guest import LinuxImage, build_image
    from migsim.lab.linux_machine import IMAGE_VARIABLE, image_folder
    from migsim.units import format_bytes

    folder = image_folder() if output is None else output
    begun = time.monotonic()

    def tell(step: str) -> None:
        print(f"{time.monotonic() - begun:4.0f} s  {step}", file=sys.stderr, flush=True)

    try:
        image = LinuxImage.load(folder, digests=True)
        state = "is there already"
    except HostError:
        image = build_image(folder, progress=tell)
        state = "is built"
    size = format_bytes(sum(image.sizes_bytes.values()))
    print(f"{folder} {state}: Linux {image.kernel_release}, {size}")
    if folder.resolve() != image_folder().resolve():
        print(f"Set {IMAGE_VARIABLE}={os.fspath(folder)} for scenarios to find it.", file=sys.stderr)


class _Noting:
    """Turns `query-migrate` answers into a progress line."""

    def __init__(self, update: Callable[..., None]) -> None:
        self.update = update

    def __call__(self, info: dict[str, Any]) -> None:
        self.update(None, _note(info))


def _with_users_seed(scenario: LabScenario, seed: int | None, number: int) -> LabScenario:
    """Give each repeat of a Linux guest users of their own chance, so that repeats do not share it."""
    from migsim.errors import ScenarioError

    linux = scenario.guest.linux
    if linux is not None:
        first = linux.seed if seed is None else seed
        return scenario.replace(guest=scenario.guest.replace(linux=linux.replace(seed=first + number)))
    if seed is None:
        return scenario
    raise ScenarioError(
        f"--users-seed {seed}: the guest of {scenario.name!r} has no users.",
        "Only a Linux guest has (guest.linux).",
        "Leave it out.",
    )


def _outputs(output: Path, repeat: int) -> list[Path]:
    """Return the files to write; fail before the first run where they could not be written."""
    from migsim.files import check_writable

    if repeat == 1:
        targets = [output]
    else:
        targets = [output.with_name(f"{output.stem}-{n}{output.suffix}") for n in range(1, repeat + 1)]
    for target in targets:
        check_writable(target)
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
    from rich.markup import escape
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
            (result.host_load.get("busy_fraction", math.nan), ".0%"),
        )
        cells = ("-" if math.isnan(value) else format(value, form) for value, form in numbers)
        table.add_row(escape(path.name), result.verdict, *cells)
    console = stdout_console()
    console.print(table)
    for path, result in results:
        if result.outcome.reason:
            console.print(f"{path.name}: {result.outcome.reason}", markup=False)
