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
        str | None, typer.Option(metavar="VERSION", help="Behave like this QEMU, as 7.2 or 10.0.")
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
        str | None, typer.Option(metavar="RATE", help="What the network carries, as 10Gbps.")
    ] = None,
    deadline: Annotated[
        str, typer.Option(metavar="TIME", help="When the migration would be given up.")
    ] = "30min",
    output_format: Annotated[str, typer.Option("--format", metavar="table|json")] = "table",
    replicates: Annotated[int, typer.Option(min=1, help="Simulated migrations behind the intervals.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the prediction as a picture.")
    ] = None,
) -> None:
    """Predict the migration of a traced guest.

    Says whether it converges, how long it takes, the downtime, the traffic, and why. The exit code is 4 when it
    does not converge.

    Example: migsim predict db.trace --set max-bandwidth=10Gbps --set downtime-limit=300ms
    """
    import json

    from migsim.cli.console import progress, stdout_console
    from migsim.errors import UsageError
    from migsim.scenario import HostProfile, MigrationSettings
    from migsim.scenario.hosts import bundled_profile
    from migsim.study.predict import predict as run
    from migsim.trace import Trace
    from migsim.units import parse_duration_s, parse_rate

    if output_format not in ("table", "json"):
        raise UsageError(f"--format is {output_format!r}.", "It is table or json.", "Choose one of them.")
    opened = Trace.open(trace)
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
            deadline_s=parse_duration_s(deadline, field="--deadline"),
            link_bytes_per_s=parse_rate(link, field="--link") if link else None,
            progress=lambda done, _of: update(done),
        )
    if output_format == "json":
        print(json.dumps(made.to_json_object(), indent=2))
    else:
        from migsim.report.tables import prediction_table

        prediction_table(made, stdout_console())
    if plot:
        from migsim.plot.prediction import save_prediction

        save_prediction(made, plot)
    if made.result.outcome.status != "completed":
        raise typer.Exit(NOT_CONVERGED)
