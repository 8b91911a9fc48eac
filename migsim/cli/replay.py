"""``migsim replay``: one migration of a traced guest, simulated page by page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.predict import NOT_CONVERGED
from migsim.cli.question import guest_command
from migsim.study.question import Question

if TYPE_CHECKING:
    from migsim.results import MigrationResult

__all__ = ["replay"]


@guest_command(draws=None)
def replay(
    question: Question,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json is query-migrate's object with outcome and reason.",
        ),
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RECORD.json", help="Also save rounds and timeline as a record."
        ),
    ] = None,
) -> None:
    """Simulate one migration with the page numbers of a trace.

    The trace needs page numbers, which the stream and dirty-ring methods record. `migsim predict` fits classes of pages
    and simulates many draws. A replay simulates one migration: the pages of each interval of the trace go through
    QEMU's dirty bitmap and XBZRLE's cache, page by page, at the medians of the host's costs. The exit code is 4 when
    the migration does not converge.

    Example: migsim replay db.trace --set max-bandwidth=10Gbps --set xbzrle=on
    """
    import json

    from migsim.cli.console import progress, stdout_console, write
    from migsim.cli.options import one_of
    from migsim.files import check_writable
    from migsim.study.replay import replay as run

    one_of(output_format, ("table", "json"), option="--format")
    if output:
        check_writable(output)
    with progress("replaying"):
        result = run(question)
    if output:
        result.save(output)
    if output_format == "json":
        write(json.dumps(_json_object(result), indent=2))
    else:
        from migsim.report.rounds import replay_table

        replay_table(result, stdout_console())
    if result.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)


def _json_object(result: MigrationResult) -> dict[str, object]:
    return {
        **result.info,
        "outcome": result.outcome.status,
        "reason": result.outcome.reason,
        "downtime-parts": dict(result.downtime_parts_ms),
        "costs": dict(result.costs),
        "basis": result.scenario["basis"],
        "assumptions": list(result.scenario["assumptions"]),
    }
