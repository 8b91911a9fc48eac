"""``migsim compare``: predicted migrations beside the measured ones of records."""

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
        typer.Option(metavar="FILE", help="The guest's trace; by default the matching one in --traces."),
    ] = None,
    traces: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder with a trace of each record's guest.")
    ] = Path("traces"),
    host: Annotated[
        Path | None,
        typer.Option(metavar="PROFILE", help="The host's profile; by default the matching one in --hosts."),
    ] = None,
    hosts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of profiles to choose from by each record's QEMU and machine, beside the bundled ones; "
            f"by default {HOSTS}, where it exists.",
        ),
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="table|csv", help="csv has one row per run and metric, in QAPI's units."
        ),
    ] = "table",
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of simulated migrations, for the 80 % intervals.")
    ] = 40,
) -> None:
    """Predict each record's migration from its guest's trace, and compare it with the measured one.

    The prediction uses only the scenario of a record, not its measured figures. Errors are predicted less measured,
    against the median of the repeats.

    Example: migsim compare validation/data/records/kvm-hot-4g-2gbps-*.json --trace traces/hot-4g.trace
    """
    from migsim.cli.console import progress, stdout_console, write
    from migsim.cli.options import one_of
    from migsim.profiles import HostProfile
    from migsim.report.tables import comparison_table
    from migsim.results import MigrationResult
    from migsim.results import compare as compare_results
    from migsim.study.matching import check_sides, matching_profile, matching_trace, predict_record
    from migsim.trace import Trace

    one_of(output_format, ("table", "csv"), option="--format")
    folder = HOSTS if hosts is None and HOSTS.is_dir() else hosts
    measured = [MigrationResult.load(path) for path in records]
    check_sides(measured)
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
                )
    frame = compare_results(predicted.values(), measured)
    if output_format == "csv":
        write(frame.to_csv(index=False).rstrip("\n"))
    else:
        comparison_table(frame, stdout_console())
