"""``migsim predict``: what a migration of the traced guest would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

__all__ = ["predict"]

NOT_CONVERGED = 4


def predict(
    trace: TraceFile,
    host: Host = None,
    qemu_version: QemuVersionOption = None,
    settings: Settings = None,
    link: Link = None,
    load: Load = "100%",
    users: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users outside the guest who think, ask and wait: also say what they lose; needs --demand.",
        ),
    ] = None,
    think: Annotated[
        str, typer.Option(metavar="TIME", help="How long one thinks between two transactions, in the mean.")
    ] = "1s",
    demand: Annotated[
        str | None, typer.Option(metavar="TIME", help="vCPU time that a transaction needs, as 5ms.")
    ] = None,
    dirty_ring_size: RingSize = 0,
    deadline: Deadline = "30min",
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json",
            help="json is QMP's query-migrate object plus outcome, reason and intervals.",
        ),
    ] = "table",
    replicates: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Simulated migrations behind the 80 % intervals; 1 takes the medians."
        ),
    ] = 40,
    seed: Seed = 1,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw it: png, svg, pdf, jpg or webp, by the name's ending."),
    ] = None,
) -> None:
    """Predict the migration of a traced guest.

    Says whether it converges, how long it takes, the downtime, the traffic, and why. The exit code is 4 when it
    does not converge.

    Example: migsim predict db.trace --set max-bandwidth=10Gbps --set downtime-limit=300ms
    """
    import json

    from migsim.cli.console import progress, stdout_console
    from migsim.cli.options import one_of
    from migsim.cli.users import print_users, user_loop
    from migsim.plot.picture import check_picture
    from migsim.scenario import MigrationSettings
    from migsim.study.predict import predict as run

    one_of(output_format, ("table", "json"), option="--format")
    if plot:
        check_picture(plot)
    guest, shared = guest_and_host(
        trace,
        host,
        qemu_version,
        link=link,
        load=load,
        dirty_ring_size=dirty_ring_size,
        deadline=deadline,
    )
    loop = user_loop(users, think, demand, vcpus=guest.meta.vcpus or 1)
    declared = MigrationSettings.parse(settings or [], shared["qemu_version"])
    with progress("simulating", total=replicates) as update:
        made = run(
            guest,
            settings=declared,
            replicates=replicates,
            seed=seed,
            progress=lambda done, _of: update(done),
            **shared,
        )
    if plot:
        from migsim.plot.prediction import save_prediction

        save_prediction(made, plot)
    seen = None
    if loop:
        from migsim.study.guest_performance import guest_performance

        seen = guest_performance(made, loop, seed=seed)
    if output_format == "json":
        said = made.to_json_object() | ({"guest-performance": seen.to_json_object()} if seen else {})
        print(json.dumps(said, indent=2))
    else:
        from migsim.report.tables import prediction_table

        console = stdout_console()
        prediction_table(made, console)
        if seen:
            print_users(seen, console)
    if made.result.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)
