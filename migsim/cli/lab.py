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
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="The scenario to run.")],
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
            help="Longest time in which the guest fills its memory, as 180s (the default; 900s for a Linux guest).",
        ),
    ] = None,
    users_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of a Linux guest's users in place of the scenario's; each repeat adds one.",
        ),
    ] = None,
    pin: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SOURCE:DESTINATION",
            help="Run source and destination on cores of their own, as two hosts do: 0:1, 0-3:4-7; auto halves the "
            "cores. By default the scheduler places them, often on one core.",
        ),
    ] = None,
) -> None:
    """Start the scenario's guest, migrate it with a real QEMU, and write the record.

    Both QEMU processes are ended in any case. A migration that does not converge is a result too: the exit code is 0,
    and the record holds the outcome.

    Example: migsim lab migrate validation/data/scenarios/kvm-hot-4g-2gbps-300ms-q100.toml -o hot-4g.json
    """
    from migsim.cli.console import progress
    from migsim.cli.options import positive_duration_s
    from migsim.lab.cores import Cores
    from migsim.lab.migrate import run_migration
    from migsim.scenario import LabScenario

    cores = None if pin is None else Cores.parse(pin)
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
                progress=_ProgressNotes(update),
                ready_timeout_s=ready_timeout_s,
                pin=cores,
                command=command,
            )
        result.save(target)
        results.append((target, result))
    _print(results)


@app.command()
def trace(
    scenario: Annotated[Path, typer.Argument(metavar="SCENARIO.toml", help="The scenario of the guest.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The trace to write.")],
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="auto, dirty-rate, stream or dirty-ring.")
    ] = "auto",
    duration: Annotated[
        str, typer.Option(metavar="TIME", help="Length of the recording, as 30s or 2min.")
    ] = "30s",
    dirty_ring_size: Annotated[
        int | None, typer.Option(metavar="N", help="Start the guest with a dirty ring of N entries.")
    ] = None,
) -> None:
    """Start the scenario's guest, trace it, and end it.

    The trace holds the guest's description, by which `migsim compare` finds it for records of the same guest.

    Example: migsim lab trace validation/data/scenarios/kvm-hot-4g-2gbps-300ms-q100.toml -o hot-4g.trace
    """
    from migsim.cli.console import progress, write
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
    write(f"{output} holds {recording.contents}")


@app.command("build-guest")
def build_guest(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the image; by default $MIGSIM_LINUX_GUEST, or build/linux-guest of the project, where "
            "scenarios look for it.",
        ),
    ] = None,
) -> None:
    """Build the Linux guest with its database from Debian packages.

    Scenarios of a Linux guest (guest.linux) need it. An image that exists already is kept if it is complete and built
    from the current sources.

    Example: migsim lab build-guest -o build/linux-guest
    """
    import os
    import time

    from migsim.cli.console import say, write
    from migsim.errors import HostError
    from migsim.lab.linux_guest import LinuxImage, build_image
    from migsim.lab.linux_machine import IMAGE_VARIABLE, image_folder
    from migsim.units import format_bytes

    folder = image_folder() if output is None else output
    begun = time.monotonic()

    def tell(step: str) -> None:
        say(f"{time.monotonic() - begun:4.0f} s  {step}")

    try:
        image = LinuxImage.load(folder, digests=True)
        state = "exists already"
    except HostError:
        image = build_image(folder, progress=tell)
        state = "is built"
    size = format_bytes(sum(image.sizes_bytes.values()))
    write(f"{folder} {state}: Linux {image.kernel_release}, {size}")
    if folder.resolve() != image_folder().resolve():
        say(f"Set {IMAGE_VARIABLE}={os.fspath(folder)} for scenarios to find it.")


class _ProgressNotes:
    """Show `query-migrate` answers as notes of a progress bar."""

    def __init__(self, update: Callable[..., None]) -> None:
        self.update = update

    def __call__(self, info: dict[str, Any]) -> None:
        self.update(None, _note(info))


def _with_users_seed(scenario: LabScenario, seed: int | None, number: int) -> LabScenario:
    """Return the scenario with a users' seed of its own for each repeat, so that repeats are independent."""
    from migsim.errors import ScenarioError

    linux = scenario.guest.linux
    if linux is not None:
        first = linux.seed if seed is None else seed
        return scenario.replace(guest=scenario.guest.replace(linux=linux.replace(seed=first + number)))
    if seed is None:
        return scenario
    raise ScenarioError(
        f"--users-seed {seed}: the guest of {scenario.name!r} has no users.",
        "Only a Linux guest (guest.linux) has users.",
        "Leave it out.",
    )


def _outputs(output: Path, repeat: int) -> list[Path]:
    """Return the files to write; raise before the first run where one cannot be written."""
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
        table.add_row(path.name, result.verdict, *cells)
    console = stdout_console()
    console.print(table)
    for path, result in results:
        if result.outcome.reason:
            console.print(f"{path.name}: {result.outcome.reason}")
