"""``migsim trace``: record the dirty pages of a running guest, and summarise traces."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="trace",
    help="Record the dirty pages of a running guest; summarise traces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def record(
    qmp: Annotated[
        Path, typer.Option(metavar="SOCKET", help="The guest's QMP socket (-qmp unix:SOCKET,...).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The trace to write.")],
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="auto, dirty-rate, stream or dirty-ring.")
    ] = "auto",
    duration: Annotated[
        str, typer.Option(metavar="TIME", help="Length of the recording, as 30s or 2min.")
    ] = "30s",
    windows: Annotated[
        str,
        typer.Option(
            metavar="TIMES",
            help="Lengths of the rounds of stream, in turn, as 20ms,100ms,1s. [default: 10ms to 30s, at most a "
            "quarter of the duration]",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Trace a running guest.

    The guest keeps running. Ctrl-C ends the recording early and keeps the trace up to then (exit code 130); so does
    SIGTERM (143).

    Methods: dirty-ring records each write with its time (it needs root, and QEMU started with KVM's dirty ring). stream
    records page numbers and contents round by round, as the destination of a migration that never completes. dirty-rate
    records only the totals that QEMU estimates. auto takes the first of them that works on this host, and prints why.

    Example: migsim trace record --qmp vm.sock -o db.trace --duration 60s
    """
    from migsim.cli.console import progress, say
    from migsim.cli.options import one_of, positive_duration_s
    from migsim.cli.signals import first_signal_asks
    from migsim.files import check_writable
    from migsim.tracer import record_trace
    from migsim.tracer.auto import METHODS
    from migsim.units import format_duration_s

    one_of(method, METHODS, option="--method")
    duration_s = positive_duration_s(duration, option="--duration")
    windows_s = (
        [positive_duration_s(length.strip(), option="--windows") for length in windows.split(",")]
        if windows
        else None
    )
    check_writable(output)
    with first_signal_asks() as signal_number, progress("tracing", total=duration_s) as update:
        recording = record_trace(
            qmp,
            output,
            method=method,
            duration_s=duration_s,
            windows_s=windows_s,
            command=shlex.join(["migsim", *sys.argv[1:]]),
            progress=update,
            stop=lambda: signal_number() > 0,
            on_put_back=lambda line: say(f"migsim: {line}"),
            on_chosen=lambda _done, why: say(f"migsim: tracing by {why}"),
        )
    if recording.complete:
        say(f"migsim: {output} holds {recording.contents} of {format_duration_s(duration_s)}")
        return
    held = f"{output} keeps {recording.contents}" if output.exists() else "nothing was recorded"
    say(f"migsim: interrupted; {held}")
    raise typer.Exit(128 + signal_number())


@app.command()
def restore(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The .part folder of a recording that was killed.")
    ],
    qmp: Annotated[
        Path | None,
        typer.Option(metavar="SOCKET", help="The guest's QMP socket; by default the recording's."),
    ] = None,
) -> None:
    """Put back a guest's migration settings that a killed recording had changed.

    A recording by --method stream changes them and puts them back at its end. What it needs for that lies in its .part
    folder; the next recording of the guest into a file beside it puts them back, too.

    Example: migsim trace restore db.trace.part
    """
    from migsim.cli.console import write
    from migsim.qmp import QmpSession
    from migsim.tracer.guest_settings import kept_in, restore_guest

    with QmpSession(qmp or kept_in(folder).socket) as session:
        changes = restore_guest(session, folder)
    for change in changes:
        write(f"put back: {change}")
    if not changes:
        write("nothing to put back: the guest has its own settings")


@app.command()
def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A trace, or the .part folder of an interrupted one.")
    ],
) -> None:
    """Print a summary of a trace.

    Example: migsim trace info db.trace
    """
    from rich.table import Table

    from migsim.cli.console import stdout_console
    from migsim.trace import Trace
    from migsim.trace.render import summary

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in summary(Trace.open(file)):
        table.add_row(label, text)
    stdout_console().print(table)


@app.command()
def xbzrle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A trace with page numbers.")],
    output_format: Annotated[
        str, typer.Option("--format", metavar="table|json", help="json has the same figures, unrounded.")
    ] = "table",
) -> None:
    """Print whether XBZRLE would help the traced guest, and how large its cache should be.

    The trace's pages go through QEMU's cache at every size from 4 MiB to the guest's memory.

    Example: migsim trace xbzrle db.trace
    """
    import json

    from rich.table import Table

    from migsim.cli.console import stdout_console, write
    from migsim.cli.options import one_of
    from migsim.study.xbzrle_advice import HEADINGS, advise_xbzrle
    from migsim.trace import Trace

    one_of(output_format, ("table", "json"), option="--format")
    advice = advise_xbzrle(Trace.open(file))
    if output_format == "json":
        write(json.dumps(advice.to_json_object(), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for row in advice.rows():
        table.add_row(*row)
    console = stdout_console()
    console.print(table)
    console.print(advice.reason)
