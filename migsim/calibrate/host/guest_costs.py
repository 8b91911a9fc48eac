"""What a migration takes from the guest itself: the log's faults and the throttle's sleeps, added to a profile."""

from __future__ import annotations

from collections.abc import Callable

from migsim.calibrate.host.slices import WORKING_SETS, measure_slices, slice_terms
from migsim.calibrate.host.write_faults import fault_term, measure_write_faults
from migsim.profiles import HostProfile
from migsim.provenance import Provenance
from migsim.scenario import QemuSpec
from migsim.units import read_count

__all__ = ["guest_probes", "measure_guest"]


def guest_probes(repeats: int) -> int:
    """Return the number of guests that `measure_guest` starts."""
    return repeats * (1 + len(WORKING_SETS))


def measure_guest(
    host: HostProfile,
    qemu: QemuSpec,
    *,
    repeats: int = 5,
    progress: Callable[[int, str], None] | None = None,
    command: str = "",
) -> HostProfile:
    """Run both probes and put their terms into a profile of the same QEMU.

    Parameters
    ----------
    host : HostProfile
        A profile that `migsim calibrate host` measured.
    qemu : QemuSpec
    repeats : int
        Guests of each kind.
    progress : callable, optional
        Called with the number of guests done and the purpose of the next one.
    command : str
        The command line, for the provenance.

    Raises
    ------
    HostError, QemuError, GuestError
        As `migsim.lab.run_migration`.
    ParameterError
        Where `repeats` is no whole number from 2 on.
    """
    repeats = read_count("repeats", repeats, least=2)

    def told(before: int, purpose: str) -> Callable[[int], None]:
        return lambda done: progress(before + done, purpose) if progress else None

    turns = measure_write_faults(qemu, repeats=repeats, progress=told(0, "first writes"))
    slices = measure_slices(qemu, repeats=repeats, progress=told(repeats, "slices after sleeps"))
    fitted = {"dirty_fault_s": fault_term(turns), **slice_terms(slices)}
    made = {"guest-costs": Provenance.now(command).as_dict()}
    return host.replace(terms=host.terms | fitted, provenance=host.provenance | made)
