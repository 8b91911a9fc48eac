"""``migsim replay``: one migration of the traced guest, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migsim.cli.predict import NOT_CONVERGED

if TYPE_CHECKING:
    from migsim.results import MigrationResult

__all__ = ["replay"]


def replay(
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE", help="A trace with page numbers: by stream or dirty-ring.")
    ],
    host: Annotated[
        Path | None,
        typer.Option(
            metavar="PROFILE", help="What `migsim calibrate host` measured; else a bundled profile."
        ),
    ] = None,
    qemu_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Behave like this QEMU, as 7.2 or 10.0; else like the traced one."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A migration parameter or capability, as max-bandwidth=10Gbps or xbzrle=on; may be given several "
            "times.",
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="What the network carries, as 10Gbps; else the CPUs are the limit."
        ),
    ] = None,
    load: Annotated[
        str, typer.Option(metavar="SHARE", help="How much of its full speed the guest needs, as 30%.")
    ] = "100%",
    dirty_ring_size: Annotated[
        int,
        typer.Option(
            min=0, max=65536, metavar="N", help="Entries of KVM's dirty ring, which dirty-limit needs."
        ),
    ] = 0,
    deadline: Annotated[
        str, typer.Option(metavar="TIME", help="When the migration would be given up, as 90s or 30min.")
    ] = "30min",
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json is QMP's query-migrate object plus outcome and reason.",
        ),
    ] = "table",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed, the same answer.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RECORD.json", help="Also keep rounds and timeline as a record."
        ),
    ] = None,
) -> None:
    """Replay a trace's own page numbers through one migration.

    Where `migsim predict` fits classes of pages and draws many migrations, this takes the pages that the trace saw, in
    its own order of intervals, through QEMU's bitmap and XBZRLE's cache, page by page, with the medians of the host's
    costs: one migration, round by round. The exit code is 4 when it does not converge.

    Example: migsim replay db.trace --set max-bandwidth=10Gbps --set xbzrle=on
    """
    import json

    from migsim.cli.console import progress
    from migsim.cli.options import one_of, positive_duration_s, positive_rate, share
    from migsim.engine.replay import replay as run
    from migsim.files import check_writable
    from migsim.scenario import HostProfile, MigrationSettings
    from migsim.scenario.hosts import bundled_profile
    from migsim.trace import Trace

    one_of(output_format, ("table", "json"), option="--format")
    deadline_s = positive_duration_s(deadline, option="--deadline")
    link_bytes_per_s = positive_rate(link, option="--link") if link else None
    guest_load = share(load, option="--load")
    if output:
        check_writable(output)
    opened = Trace.open(trace)
    version = qemu_version or opened.meta.qemu_version
    profile = HostProfile.load(host) if host else bundled_profile(version, opened.meta.accel or "kvm")
    with progress("replaying"):
        made = run(
            opened,
            host=profile,
            settings=MigrationSettings.parse(settings or [], version),
            qemu_version=version,
            seed=seed,
            deadline_s=deadline_s,
            link_bytes_per_s=link_bytes_per_s,
            dirty_ring_size=dirty_ring_size,
            load=guest_load,
        )
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
