"""Measuring a host: its probes are run, and the profile is fitted to their records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from migsim.calibrate.host.fit import fit_profile
from migsim.calibrate.host.probe_runs import run_probes
from migsim.calibrate.host.probes import COLD_ALIAS_BYTES, alias_bytes_with_room, host_probes, with_pinned
from migsim.lab.cores import Cores
from migsim.profiles import HostProfile
from migsim.scenario import QemuSpec
from migsim.units import read_count

__all__ = ["measure_host"]


def measure_host(
    qemu: QemuSpec,
    *,
    repeats: int = 3,
    progress: Callable[[int, str], None] | None = None,
    keep: Path | None = None,
    pin: str | None = None,
    command: str = "",
) -> HostProfile:
    """Run the probes and fit the profile.

    Parameters
    ----------
    qemu : QemuSpec
        The QEMU and its accelerator.
    repeats : int
        Repeats of each probe.
    progress : callable, optional
        Called with the number of probes done and the purpose of the next one.
    keep : Path, optional
        A folder or a ``.zip`` archive for the probes' records. A probe whose record it holds is read instead of run,
        so that a killed calibration goes on, and the records of a finished one can be fitted again.
    pin : str, optional
        Cores of each side, as `migsim.lab.cores.Cores.parse` reads them: the probes that show a page's cost
        in the blackout run once more with these, and the profile holds that cost for one machine and for two hosts.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    RecordError
        Where a kept record cannot be read.
    ParameterError
        Where `repeats` is no whole number from 1 on, or `pin` has another form.
    ProfileError
        Where a probe does not complete or does not show its term.
    """
    repeats = read_count("repeats", repeats, least=1)
    cores = None if pin is None else Cores.parse(pin)
    cold = alias_bytes_with_room(COLD_ALIAS_BYTES)
    probes = host_probes(qemu, cold_alias_bytes=cold)
    if cores is not None:
        probes = with_pinned(probes)
    every = [
        (probe, (repeat - 1) * probe.runs + run)
        for repeat in range(1, repeats + 1)
        for probe in probes
        for run in range(1, probe.runs + 1)
    ]
    runs = run_probes(every, progress=progress, keep=keep, pin=cores, command=command)
    return fit_profile(runs, qemu, command=command)
