"""The options that predict, replay, sweep, size and sensitivity share.

They are declared only here, under the keywords of `migsim.Question`, which reads and checks their values.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from migsim.study.question import DRAWS, Question

__all__ = ["guest_command"]

PANEL = "Guest, host, settings and draws: the same for every study"
"""Title above these options in the help."""

GUEST_ARGUMENT = Annotated[
    Path,
    typer.Argument(metavar="TRACE", help="A trace by `migsim trace record`, or a workload (.json)."),
]
SHARED_OPTIONS: dict[str, tuple[Any, Any]] = {
    "host": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="PROFILE",
                help="A profile by `migsim calibrate host`; by default the bundled one nearest to the QEMU version.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "qemu_version": (
        Annotated[
            str | None,
            typer.Option(
                metavar="VERSION",
                help="Version of QEMU that migrates, as 7.2 or 10.0; by default the traced one.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "settings": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=VALUE",
                help="A migration parameter or capability, as max-bandwidth=10Gbps or downtime-limit=300ms. "
                "May be given several times.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "link_bytes_per_s": (
        Annotated[
            str | None,
            typer.Option(
                "--link",
                metavar="RATE",
                help="Bandwidth of the network, as 10Gbps; by default only the CPUs limit the stream.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "load": (
        Annotated[
            str | None,
            typer.Option(
                metavar="SHARE",
                help="Share of its full speed that the guest needs, as 30%: throttling above it costs the guest "
                "nothing. By default all of it.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "writes_scale": (
        Annotated[
            str,
            typer.Option(
                metavar="FACTOR",
                help="Factor on the guest's write rates, as 1.5 or 150%.",
                rich_help_panel=PANEL,
            ),
        ],
        "1",
    ),
    "writes_spread": (
        Annotated[
            str,
            typer.Option(
                metavar="SHARE",
                help="How far the write rate at the migration may lie from the traced hour's, one deviation: 10% where "
                "days lie between (our guests on one machine). By default nothing beside what the trace shows.",
                rich_help_panel=PANEL,
            ),
        ],
        "0",
    ),
    "dirty_ring_size": (
        Annotated[
            str,
            typer.Option(
                metavar="N",
                help="Entries of KVM's dirty ring of each vCPU; 0 is the dirty bitmap. dirty-limit needs a ring.",
                rich_help_panel=PANEL,
            ),
        ],
        "0",
    ),
    "vcpus": (
        Annotated[
            str | None,
            typer.Option(
                metavar="N",
                help="The guest's vCPUs; by default the trace's, and 1 for a workload.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "host_cpus": (
        Annotated[
            str | None,
            typer.Option(
                metavar="N",
                help="Processors that the guest and multifd's channels share; by default those of the profile's "
                "machine.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "machine_type": (
        Annotated[
            str | None,
            typer.Option(
                metavar="TYPE",
                help="The guest's machine type, as pc-q35-8.2: an old one keeps old rules of multifd. By default that "
                "of the migrating release.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "sides": (
        Annotated[
            str,
            typer.Option(
                metavar="two-hosts|one-machine",
                help="Where source and destination run. On one machine, as in a record of the lab without --pin, they "
                "may share a core, and the switchover takes longer.",
                rich_help_panel=PANEL,
            ),
        ],
        "two-hosts",
    ),
    "fresh_pages": (
        Annotated[
            str | None,
            typer.Option(
                metavar="N",
                help="Data pages for which the destination has yet to allocate memory; 0 where it is preallocated. By "
                "default all.",
                rich_help_panel=PANEL,
            ),
        ],
        None,
    ),
    "deadline_s": (
        Annotated[
            str,
            typer.Option(
                "--deadline",
                metavar="TIME",
                help="Simulated time at which a migration is given up, as 90s or 30min.",
                rich_help_panel=PANEL,
            ),
        ],
        "30min",
    ),
    "draws": (
        Annotated[
            int,
            typer.Option(
                metavar="N",
                help="Number of simulated migrations, for the 80 % intervals; 1 takes the medians.",
                rich_help_panel=PANEL,
            ),
        ],
        DRAWS,
    ),
    "seed": (
        Annotated[
            int,
            typer.Option(
                metavar="N",
                help="Seed of the draws: the same seed gives the same answer.",
                rich_help_panel=PANEL,
            ),
        ],
        1,
    ),
}
"""Each option and its default, by keyword of `Question`."""


def guest_command(*, draws: int | None = DRAWS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a sub-command: it takes the trace and the shared options, and is called with their `Question`.

    Parameters
    ----------
    draws : int, optional
        Default of ``--draws``; None where the sub-command has no such option.
    """
    shared = {name: option for name, option in SHARED_OPTIONS.items() if name != "draws" or draws is not None}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own_options = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "question"
        ]

        def run(**given: Any) -> None:
            keywords = {name: given.pop(name) for name in shared}
            command(Question(given.pop("trace"), **keywords), **given)

        guest = inspect.Parameter("trace", inspect.Parameter.KEYWORD_ONLY, annotation=GUEST_ARGUMENT)
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=draws if name == "draws" else default,
                annotation=annotation,
            )
            for name, (annotation, default) in shared.items()
        ]
        functools.update_wrapper(run, command, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        del vars(run)["__wrapped__"]  # typer would read the signature of the wrapped function
        vars(run)["__signature__"] = inspect.Signature([guest, *own_options, *options])
        return run

    return decorate
