"""The root command: the table of sub-commands, exit codes, and signals.

A sub-command's module is imported when it is called, not when `migsim --help` lists it. The exit codes:

===  ==============================================================
0    done
1    our bug (a traceback comes with it)
2    the command line is wrong
3    a bad scenario, trace, record or profile, or a host that lacks something
4    the migration does not converge (`predict`); nothing meets the requirements (`size`)
129  the terminal was closed (SIGHUP); 130 interrupted (Ctrl-C); 143 SIGTERM: all after cleaning up
141  the output was closed, by its reader (``migsim ... | head -1``) or from the start (``>&-``)
===  ==============================================================
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from migsim.cli.signals import ended_by_signals as _ended_by_signals
from migsim.errors import HostError, MigsimError
from migsim.version import __version__

__all__ = ["run"]

COLLECTED_AT = (50_000, 20, 20)
"""The garbage collector's thresholds: importing makes many objects and no garbage, and each collection looks at all."""

# name: (module, attribute: a Typer application or a function, line in the help)
_COMMANDS = {
    "predict": ("migsim.cli.predict", "predict", "Predict a migration from a trace of the running guest."),
    "sweep": ("migsim.cli.sweep", "sweep", "Predict one guest's migration under many settings."),
    "size": ("migsim.cli.size", "size", "Find the least or greatest setting that meets requirements."),
    "sensitivity": (
        "migsim.cli.sensitivity",
        "sensitivity",
        "Rank the uncertain inputs of a prediction.",
    ),
    "replay": (
        "migsim.cli.replay",
        "replay",
        "Simulate one migration page by page, with a trace's page numbers.",
    ),
    "compare": (
        "migsim.cli.compare",
        "compare",
        "Compare predictions with records of real migrations.",
    ),
    "trace": ("migsim.cli.trace", "app", "Record the dirty pages of a running guest; summarise traces."),
    "calibrate": (
        "migsim.cli.calibrate",
        "app",
        "Measure the costs of migrations on this host; fit a workload to a trace.",
    ),
    "lab": ("migsim.cli.lab", "app", "Run real migrations and record them."),
    "example": ("migsim.cli.example", "example", "Copy a trace and a record to try migsim with."),
}


def _load(name: str) -> Any:
    """Import a sub-command's module and return its command object."""
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
    for each in (command, *getattr(command, "commands", {}).values()):
        each.help = _with_whole_paragraphs(each.help)
    return command


def _with_whole_paragraphs(text: str) -> str:
    """Join the lines of each paragraph: typer keeps the line breaks of a docstring's source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


class _LazyGroup(TyperGroup):
    """Group that lists every sub-command of `_COMMANDS`, and imports only the one that is called."""

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
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migsim {__version__}")
        raise typer.Exit


_HELP = "\n\n".join(
    (
        "Predict QEMU/KVM live migrations from traces of the running guest.",
        "Trace a guest, predict its migration, and compare predictions with real migrations:",
        "  migsim trace record --qmp vm.sock -o db.trace --duration 60s",
        "  migsim predict db.trace --set max-bandwidth=10Gbps",
        "  migsim lab migrate scenario.toml -o record.json",
        "  migsim compare record.json --trace db.trace",
        "Units are written out: 64MiB, 128GiB; 10Gbps, 32MiB/s; 300ms, 30s, 2min. Ambiguous units (10G, 5m) are "
        "refused. Results go to stdout, messages and progress to stderr.",
        "Exit codes: 0 done; 1 a bug of migsim; 2 wrong command line; 3 a bad file, scenario or value, or a host "
        "that lacks something; 4 the migration does not converge (predict), nothing meets the requirements (size); "
        "130 interrupted.",
    )
)


@_root.callback(help=_HELP)
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that come before any sub-command."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class _Closed(io.TextIOBase):
    """Stands for an output that was closed when the process began."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, _text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "the output is closed")


class _Messages:
    """A stream of messages: what cannot be written is lost, and ends nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            _discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _outputs_that_can_be_closed() -> Iterator[None]:
    """Give a closed stdin, stdout or stderr (``>&-``) its place again, which the next file would take."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    before = sys.stdout, sys.stderr
    sys.stdout = _Closed() if sys.stdout is None else sys.stdout
    sys.stderr = _Messages(sys.stderr or io.StringIO())
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            _discard(sys.stdout)
        sys.stdout, sys.stderr = before


def _discard(stream: Any) -> None:
    """Redirect a stream that cannot be written: Python would flush it again at its end."""
    with contextlib.suppress(OSError, ValueError):
        discarding = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(discarding, stream.fileno())
        finally:
            os.close(discarding)


def _output_closed() -> int:
    """Return the exit code for a closed output."""
    _discard(sys.stdout)
    return 128 + signal.SIGPIPE


def _code(end: SystemExit) -> int:
    if isinstance(end.__context__, BrokenPipeError):  # typer and rich exit with 1 for it
        return _output_closed()
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run_to_last_byte(arguments: Sequence[str] | None) -> int:
    code = 0
    try:
        typer.main.get_command(_root).main(args=arguments, prog_name="migsim")
    except SystemExit as end:
        code = _code(end)
    sys.stdout.flush()
    return code


def _execute(arguments: Sequence[str] | None) -> int:
    """Run one command line; return its exit code."""
    try:
        with _ended_by_signals():
            return _run_to_last_byte(arguments)
    except SystemExit as end:
        return _code(end)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _output_closed()
    except MigsimError as error:
        return _complain(error)
    except ModuleNotFoundError as error:
        return _our_bug() if _is_ours(error) else _complain(_package_missing(error))
    except OSError as error:
        if error.errno in _FULL:
            return _complain(_host_lacks(error))
        return _our_bug()
    except MemoryError:
        return _complain(
            HostError(
                "The machine's memory is used up.",
                "What was asked for, or a file that is read, needs more than there is.",
                "Ask for less, or use a machine with more memory.",
            )
        )
    except Exception:
        return _our_bug()


def _complain(error: MigsimError) -> int:
    from migsim.cli.console import say

    say(f"migsim: {error}")
    return error.exit_code


def _our_bug() -> int:
    from migsim.cli.console import say
    from migsim.text import visible_lines

    print(visible_lines(traceback.format_exc()), file=sys.stderr)
    say("migsim: this is a bug in migsim, not in what you gave it.")
    return 1


_EXTRAS = {"distributed": "cluster", "dask": "cluster", "jupyter": "notebook", "IPython": "notebook"}
"""The optional packages, and the extra of migsim that installs each."""


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "migsim").partition(".")[0] == "migsim"


def _package_missing(error: ModuleNotFoundError) -> HostError:
    package = (error.name or "").partition(".")[0]
    extra = f"[{_EXTRAS[package]}]" if package in _EXTRAS else ""
    return HostError(
        f"The package {error.name} is not installed.",
        "migsim was installed without a package that it needs for this.",
        f"Install it with pip install 'migsim{extra}'.",
    )


def _host_lacks(error: OSError) -> HostError:
    where = f" ({error.filename})" if error.filename else ""
    if not error.filename:
        _output_closed()  # buffered output could not be written either
    return HostError(
        f"The machine refuses to go on: {error.strerror}{where}.",
        "migsim needs space for its output and temporary files, and some open files.",
        "Free some space, or set TMPDIR to a folder that has some.",
    )


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line after the program's name; by default that of this process.

    Raises
    ------
    SystemExit
        Always; the exit codes are in this module's docstring.
    """
    gc.set_threshold(*COLLECTED_AT)
    with _outputs_that_can_be_closed():
        code = _execute(arguments)
    sys.exit(code)
