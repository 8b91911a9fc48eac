"""The options of every sub-command that asks about a guest: predict, replay, sweep, size, sensitivity.

They are declared here alone, with the keywords and defaults of `migsim.Question`, which reads and checks their values.
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

PANEL = "Guest, host and settings"

GUEST = Annotated[
    Path,
    typer.Argument(metavar="TRACE", help="What `migsim trace record` wrote, or a workload (.json)."),
]
OPTIONS: dict[str, tuple[Any, Any]] = {
    "host": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="PROFILE",
                help="What `migsim calibrate host` measured; else a bundled profile.",
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
                help="Behave like this QEMU, as 7.2 or 10.0; else like the traced one.",
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
                help="A migration parameter or capability, as max-bandwidth=10Gbps or downtime-limit=300ms; "
                "may be given several times.",
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
                help="What the network carries, as 10Gbps; else the CPUs are the limit.",
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
                help="How much of its full speed the guest needs, as 30%; what is throttled above that costs it "
                "nothing. Else all of it.",
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
                help="How often the guest writes, over what was traced, as 1.5 or 150%.",
                rich_help_panel=PANEL,
            ),
        ],
        "1",
    ),
    "dirty_ring_size": (
        Annotated[
            str,
            typer.Option(
                metavar="N",
                help="Entries of KVM's dirty ring, which dirty-limit needs.",
                rich_help_panel=PANEL,
            ),
        ],
        "0",
    ),
    "fresh_pages": (
        Annotated[
            str | None,
            typer.Option(
                metavar="N",
                help="Data pages whose memory the destination has yet to find: 0 where it is preallocated; else all.",
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
                help="When a migration would be given up, as 90s or 30min.",
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
                help="Simulated migrations behind the 80 % intervals; 1 takes the medians.",
                rich_help_panel=PANEL,
            ),
        ],
        DRAWS,
    ),
    "seed": (
        Annotated[
            int, typer.Option(metavar="N", help="The same seed, the same answer.", rich_help_panel=PANEL)
        ],
        1,
    ),
}
"""By keyword of `Question`: the option, and its default."""


def guest_command(*, draws: int | None = DRAWS) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a sub-command take the shared options, and call it with the question that they ask.

    Parameters
    ----------
    draws : int, optional
        Default of ``--draws``; None: the sub-command has no such option.
    """
    shared = {name: option for name, option in OPTIONS.items() if name != "draws" or draws is not None}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        beside = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "question"
        ]

        def run(**given: Any) -> None:
            keywords = {name: given.pop(name) for name in shared}
            command(Question(given.pop("trace"), **keywords), **given)

        guest = inspect.Parameter("trace", inspect.Parameter.KEYWORD_ONLY, annotation=GUEST)
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
        del vars(run)["__wrapped__"]  # typer would read its signature
        vars(run)["__signature__"] = inspect.Signature([guest, *beside, *options])
        return run

    return decorate
