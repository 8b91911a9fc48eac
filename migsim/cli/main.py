"""The command line's root: which sub-commands there are, and how failures leave the process.

A sub-command's module is imported when it is called, not when `migsim --help` lists it.

===  ==============================================================
0    done
1    our bug (a traceback comes with it)
2    the command line is wrong
3    a bad scenario, trace, record or profile, or a host that lacks something
4    the migration does not converge (`predict`)
130  interrupted
===  ==============================================================
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from migsim import __version__
from migsim.errors import MigsimError

__all__ = ["run"]

# name: (module, attribute: a Typer application or a function, what help says)
_COMMANDS = {
    "predict": ("migsim.cli.predict", "predict", "Predict a migration from a trace of the running guest."),
    "compare": (
        "migsim.cli.compare",
        "compare",
        "Put predicted beside measured, from records of real migrations.",
    ),
    "trace": ("migsim.cli.trace", "app", "Record the dirty pages of a running guest; look at traces."),
    "calibrate": ("migsim.cli.calibrate", "app", "Measure what this host's migrations cost."),
    "lab": ("migsim.cli.lab", "app", "Run real migrations and record them."),
}


def _load(name: str) -> Any:
    """Import the module behind a sub-command and make its command object."""
    module, attribute, help_text = _COMMANDS[name]
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
    else:
        application = typer.Typer(add_completion=False)
        application.command(name)(target)
        command = typer.main.get_command(application)
    command.name = name
    command.help = command.help or help_text
    return command


class _LazyGroup(TyperGroup):
    """Lists every sub-command from the table above, and imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, _, help_text) in _COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=help_text)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name in _COMMANDS else command, rest


_root = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migsim {__version__}")
        raise typer.Exit


@_root.callback(help="Predict QEMU/KVM live migrations from traces of the running guest.")
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Hold the options that come before any sub-command."""


def _execute(arguments: Sequence[str] | None) -> int:
    """Run one command line; return its exit code."""
    try:
        typer.main.get_command(_root).main(args=arguments, prog_name="migsim")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except MigsimError as error:
        print(f"migsim: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        print("migsim: this is a bug in migsim, not in what you gave it.", file=sys.stderr)
        return 1
    return 0


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line after the program's name; that of the process when left out.

    Raises
    ------
    SystemExit
        Always; the codes stand in this module's docstring.
    """
    sys.exit(_execute(arguments))
