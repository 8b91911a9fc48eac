"""``migsim replay``: one migration of the traced guest, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.predict import NOT_CONVERGED
from migsim.cli.study import (
    Deadline,
    Host,
    Link,
    Load,
    QemuVersionOption,
    RingSize,
    Seed,
    Settings,
    TraceFile,
    guest_and_host,
)

if TYPE_CHECKING:
    from migsim.results import MigrationResult

__all__ = ["replay"]


def replay(
    trace: TraceFile,
    host: Host = None,
    qemu_version: QemuVersionOption = None,
    settings: Settings = None,
    link: Link = None,
    load: Load = "100%",
    dirty_ring_size: RingSize = 0,
    deadline: Deadline = "30min",
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json is QMP's query-migrate object plus outcome and reason.",
        ),
    ] = "table",
    seed: Seed = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RECORD.json", help="Also keep rounds and timeline as a record."
        ),
    ] = None,
) -> None:
    """Replay a trace's own page numbers through one migration.

    The trace names its pages: by stream or dirty-ring.

    Where `migsim predict` fits classes of pages and draws many migrations, this takes the pages that the trace saw, in
    its own order of intervals, through QEMU's bitmap and XBZRLE's cache, page by page, with the medians of the host's
    costs: one migration, round by round. The exit code is 4 when it does not converge.

    Example: migsim replay db.trace --set max-bandwidth=10Gbps --set xbzrle=on
    """
    import json

    from migsim.cli.console import progress
    from migsim.cli.options import one_of
    from migsim.engine.pages.replay import replay as run
    from migsim.files import check_writable
    from migsim.scenario import MigrationSettings

    one_of(output_format, ("table", "json"), option="--format")
    if output:
        check_writable(output)
    guest, shared = guest_and_host(
        trace,
        host,
        qemu_version,
        link=link,
        load=load,
        dirty_ring_size=dirty_ring_size,
        deadline=deadline,
    )
    declared = MigrationSettings.parse(settings or [], shared["qemu_version"])
    with progress("replaying"):
        made = run(guest, settings=declared, seed=seed, **shared)
    if output:
        made.save(output)
    if output_format == "json":
        print(json.dumps(_json_object(made), indent=2))
    else:
        from migsim.cli.console import stdout_console
        from migsim.report.rounds import replay_table

        replay_table(made, stdout_console())
    if made.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)


def _json_object(made: MigrationResult) -> dict[str, object]:
    return {
        **made.info,
        "outcome": made.outcome.status,
        "reason": made.outcome.reason,
        "downtime-parts": dict(made.downtime_parts_ms),
        "costs": dict(made.costs),
        "assumptions": list(made.scenario["assumptions"]),
    }
