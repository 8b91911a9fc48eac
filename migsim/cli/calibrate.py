"""``migsim calibrate``: host profiles from probe migrations, and workloads fitted to traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="calibrate",
    help="Measure the costs of migrations on this host; fit a workload to a trace.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


Qemu = Annotated[str, typer.Option(metavar="CMD", help="QEMU's command; $NAME is an environment variable.")]
Repeats = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Repeats of each probe, from which the spreads of the terms come."),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER|FILE.zip",
        help="Folder or archive that keeps the probes' records; records that are there are not measured again.",
    ),
]

Extended = Annotated[
    Path, typer.Argument(metavar="PROFILE", help="A profile by `migsim calibrate host` with this QEMU.")
]
ExtendedTo = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The profile to write; by default PROFILE itself."),
]


@app.command()
def host(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PROFILE", help="The profile to write.")],
    qemu: Qemu = "qemu-system-x86_64",
    qemu_version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="QEMU's version; by default the command is asked for it."),
    ] = None,
    accel: Annotated[str, typer.Option(metavar="kvm|tcg", help="Accelerator of the probes' guests.")] = "kvm",
    repeats: Repeats = 3,
    keep: Keep = None,
    pin: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SOURCE:DESTINATION",
            help="Also measure the last pages with source and destination on cores of their own, as on two hosts: "
            "0:1, 0-3:4-7; auto halves the cores. The profile then holds both figures.",
        ),
    ] = None,
) -> None:
    """Measure this host with short probe migrations, some minutes in all.

    Leave the machine idle meanwhile: other work on it would be measured too.

    Example: migsim calibrate host --qemu qemu-system-x86_64 -o host.json
    """
    import shlex
    import sys

    from migsim.calibrate.host.probes import host_probes, with_pinned
    from migsim.calibrate.host.run import measure_host
    from migsim.cli.console import progress, stdout_console
    from migsim.cli.options import one_of
    from migsim.files import check_writable
    from migsim.lab.version import installed_version
    from migsim.qapi import NEWEST
    from migsim.report.tables import profile_table
    from migsim.scenario import QemuSpec

    one_of(accel, ("kvm", "tcg"), option="--accel")
    check_writable(output)
    if qemu_version is None:
        asked = QemuSpec(command=qemu, version=str(NEWEST))  # only to expand the command's variables
        qemu_version = str(installed_version(asked.expanded_command()))
    spec = QemuSpec.from_dict({"command": qemu, "version": qemu_version, "accel": accel})
    probes = host_probes(spec) if pin is None else with_pinned(host_probes(spec))
    with progress("probes", total=repeats * sum(probe.runs for probe in probes)) as update:
        profile = measure_host(
            spec,
            repeats=repeats,
            progress=update,
            keep=keep,
            pin=pin,
            command=shlex.join(["migsim", *sys.argv[1:]]),
        )
    profile.save(output)
    profile_table(profile, stdout_console())


@app.command()
def multifd(
    profile: Extended,
    output: ExtendedTo = None,
    qemu: Qemu = "qemu-system-x86_64",
    repeats: Repeats = 3,
    keep: Keep = None,
) -> None:
    """Add the costs of multifd's threads to a host profile, by short probe migrations.

    Leave the machine idle meanwhile: other work on it would be measured too.

    Example: migsim calibrate multifd host.json --qemu qemu-system-x86_64
    """
    import shlex
    import sys

    from migsim.calibrate.host.multifd import measure_multifd, multifd_probes
    from migsim.cli.console import progress, stdout_console
    from migsim.files import check_writable
    from migsim.profiles import HostProfile
    from migsim.report.tables import profile_table
    from migsim.scenario import QemuSpec

    host = HostProfile.load(profile)
    target = output or profile
    check_writable(target)
    spec = QemuSpec.from_dict({"command": qemu, "version": host.qemu_version, "accel": host.accel})
    with progress("probes", total=repeats * len(multifd_probes(spec))) as update:
        extended = measure_multifd(
            host,
            spec,
            repeats=repeats,
            progress=update,
            keep=keep,
            command=shlex.join(["migsim", *sys.argv[1:]]),
        )
    extended.save(target)
    profile_table(extended, stdout_console())


@app.command()
def guest(
    profile: Extended,
    output: ExtendedTo = None,
    qemu: Qemu = "qemu-system-x86_64",
    repeats: Repeats = 5,
) -> None:
    """Measure what a guest loses by the dirty log's faults and by the throttle's sleeps; put it into a profile.

    Each cost is measured against the same guest without it, and has an interval: where that contains none, none it is.

    Example: migsim calibrate guest host.json --qemu qemu-system-x86_64
    """
    import shlex
    import sys

    from migsim.calibrate.host.guest_costs import guest_probes, measure_guest
    from migsim.cli.console import progress, stdout_console
    from migsim.files import check_writable
    from migsim.profiles import HostProfile
    from migsim.report.tables import profile_table
    from migsim.scenario import QemuSpec

    host = HostProfile.load(profile)
    target = output or profile
    check_writable(target)
    spec = QemuSpec.from_dict({"command": qemu, "version": host.qemu_version, "accel": host.accel})
    with progress("guests", total=guest_probes(repeats)) as update:
        extended = measure_guest(
            host, spec, repeats=repeats, progress=update, command=shlex.join(["migsim", *sys.argv[1:]])
        )
    extended.save(target)
    profile_table(extended, stdout_console())


@app.command()
def trace(
    file: Annotated[Path, typer.Argument(metavar="TRACE", help="A trace by `migsim trace record`.")],
    host: Annotated[
        Path | None,
        typer.Option(
            metavar="PROFILE",
            help="A profile by `migsim calibrate host`, for the cost of a dirty fault; by default a bundled one.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Also save the workload as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw the unique-dirty curve and its fit.")
    ] = None,
) -> None:
    """Fit page classes to a trace and show the residuals.

    A page class is a number of pages with a write rate per page. `migsim predict` makes the same fit.

    Example: migsim calibrate trace db.trace --plot db.png
    """
    from migsim.calibrate.workload.fit import fit_workload
    from migsim.cli.console import stdout_console
    from migsim.files import check_writable
    from migsim.plot.picture import check_picture
    from migsim.profiles import HostProfile
    from migsim.profiles.bundled import bundled_profile
    from migsim.report.tables import fit_table
    from migsim.trace import Trace

    if plot:
        check_picture(plot)
    if output:
        check_writable(output)
    opened = Trace.open(file)
    profile = (
        HostProfile.load(host)
        if host
        else bundled_profile(opened.meta.qemu_version, opened.meta.accel or "kvm")
    )
    fit = fit_workload(opened, dirty_fault_s=profile.median("dirty_fault_s"))
    if output:
        fit.workload.save(output)
    if plot:
        from migsim.plot.curve import save_fit

        save_fit(fit, plot)
    fit_table(fit, stdout_console())
