"""``migsim compare``: predicted beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compare"]

HOSTS = Path("validation/data/hosts")


def compare(
    records: Annotated[
        list[Path],
        typer.Argument(metavar="RECORD...", help="Records of real migrations; repeats share a name."),
    ],
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The guest's trace; else it is looked for in --traces."),
    ] = None,
    traces: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where a trace of each record's guest is looked for.")
    ] = Path("traces"),
    host: Annotated[
        Path | None,
        typer.Option(metavar="PROFILE", help="The host's profile; else one is chosen, see --hosts."),
    ] = None,
    hosts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Profiles to choose from for each record's QEMU and machine, beside the bundled ones; "
            f"by default {HOSTS}, where it is there.",
        ),
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="table|csv", help="csv has a row per run and metric, in QAPI's units."
        ),
    ] = "table",
    draws: Annotated[int, typer.Option(min=1, help="Simulated migrations behind the intervals.")] = 40,
) -> None:
    """Predict each record's migration from its guest's trace, and put it beside what was measured.

    Nothing of a record but its scenario goes into its prediction. Errors are predicted - measured, against the
    median of the repeats.

    Example: migsim compare validation/data/records/kvm-4g-*.json --trace traces/kvm-4g.trace
    """
    from migsim.cli.console import progress, stdout_console
    from migsim.cli.options import one_of
    from migsim.profiles import HostProfile
    from migsim.report.tables import comparison_table
    from migsim.results import MigrationResult
    from migsim.results import compare as put_beside
    from migsim.study.matching import matching_profile, matching_trace, predict_record
    from migsim.trace import Trace

    one_of(output_format, ("table", "csv"), option="--format")
    folder = HOSTS if hosts is None and HOSTS.is_dir() else hosts
    measured = [MigrationResult.load(path) for path in records]
    predicted = {}
    with progress("simulating", total=len(measured)) as update:
        for done, record in enumerate(measured):
            update(done, record.name)
            if record.name not in predicted:
                predicted[record.name] = predict_record(
                    record,
                    Trace.open(trace) if trace else matching_trace(record, traces),
                    HostProfile.load(host) if host else matching_profile(record, folder),
                    draws=draws,
                ).result
    frame = put_beside(predicted.values(), measured)
    if output_format == "csv":
        print(frame.to_csv(index=False), end="")
    else:
        comparison_table(frame, stdout_console())
