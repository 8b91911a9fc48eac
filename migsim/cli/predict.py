"""``migsim predict``: what a migration of the traced guest would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["predict"]

NOT_CONVERGED = 4


def predict(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="What `migsim trace record` wrote.")],
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
            help="A migration parameter or capability, as max-bandwidth=10Gbps or downtime-limit=300ms; "
            "may be given several times.",
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="What the network carries, as 10Gbps; else the CPUs are the limit."
        ),
    ] = None,
    load: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="How much of its full speed the guest needs, as 30%; what is throttled above that costs it nothing.",
        ),
    ] = "100%",
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
            help="json is QMP's query-migrate object plus outcome, reason and intervals.",
        ),
    ] = "table",
    replicates: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Simulated migrations behind the 80 % intervals; 1 takes the medians."
        ),
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="The same seed, the same answer.")] = 1,
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
    from migsim.cli.options import one_of, positive_duration_s, positive_rate, share
    from migsim.cli.users import print_users, user_loop
    from migsim.plot.picture import check_picture
    from migsim.scenario import HostProfile, MigrationSettings
    from migsim.scenario.hosts import bundled_profile
    from migsim.study.predict import predict as run
    from migsim.trace import Trace

    one_of(output_format, ("table", "json"), option="--format")
    deadline_s = positive_duration_s(deadline, option="--deadline")
    link_bytes_per_s = positive_rate(link, option="--link") if link else None
    guest_load = share(load, option="--load")
    if plot:
        check_picture(plot)
    opened = Trace.open(trace)
    loop = user_loop(users, think, demand, vcpus=opened.meta.vcpus or 1)
    version = qemu_version or opened.meta.qemu_version
    profile = HostProfile.load(host) if host else bundled_profile(version, opened.meta.accel or "kvm")
    with progress("simulating", total=replicates) as update:
        made = run(
            opened,
            host=profile,
            settings=MigrationSettings.parse(settings or [], version),
            qemu_version=version,
            replicates=replicates,
            seed=seed,
            deadline_s=deadline_s,
            link_bytes_per_s=link_bytes_per_s,
            dirty_ring_size=dirty_ring_size,
            load=guest_load,
            progress=lambda done, _of: update(done),
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
