"""What the first write to a protected page costs a guest, by QEMU release, accelerator and kind of protection.

    python -m validation.experiments.write_protection [--repeats 5] [--turns 10]

The probe of `migsim.calibrate.host.write_faults`, in turns over the releases. QEMU has no switch for
KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: `kvm_init` (accel/kvm/kvm-all.c) enables what `kvm_check_extension` reports, unless
there is a dirty ring. So a small library that is loaded before QEMU's own answers that the kernel does not have it:
pages are then protected at the sync, by KVM_GET_DIRTY_LOG, and no longer chunk by chunk as they are sent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from migsim.calibrate.host.write_faults import FaultTurn, fault_term, measure_write_faults
from migsim.scenario import QemuSpec

__all__ = ["CASES", "main", "without_manual_protect"]

COMMANDS = {"7.2": "qemu-system-x86_64", "10.0": "$MIGSIM_QEMU_10", "11.1": "$MIGSIM_QEMU_11"}
CASES = (
    ("7.2", "kvm", True), ("7.2", "kvm", False), ("7.2", "tcg", True),
    ("10.0", "kvm", True), ("10.0", "kvm", False), ("10.0", "tcg", True),
    ("11.1", "kvm", True),
)  # fmt: skip
"""Release, accelerator, and whether KVM's manual protection is there; TCG has none to take away."""

_HIDES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
int ioctl(int file, unsigned long request, ...)
{
    static int (*next)(int, unsigned long, void *);
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!next)
        next = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
    if (request == 0xAE03 && (long)argument == 168)  /* KVM_CHECK_EXTENSION of MANUAL_DIRTY_LOG_PROTECT2 */
        return 0;
    return next(file, request, argument);
}
"""


def without_manual_protect(command: str, folder: Path) -> str:
    """Return a command of a QEMU that does not find KVM's manual protection; its library is built in `folder`."""
    source, library = folder / "hides.c", folder / "hides.so"
    source.write_text(_HIDES, encoding="ascii")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return f"env LD_PRELOAD={library} {command}"


def line(version: str, accel: str, manual: bool, turns: list[FaultTurn]) -> str:
    """Compose a line of the table."""
    term = fault_term(turns)
    low, high = term.measured_between or (0.0, 0.0)
    costs = [float(np.median([t.cost_s for t in turns if t.guest == g])) for g in {t.guest for t in turns}]
    plain, held = (np.median([getattr(t, f"{kind}_write_s") for t in turns]) for kind in ("plain", "held"))
    first_writes = np.median([t.first_writes / t.logged.wall_s for t in turns])
    return (
        f"{version:<5} {accel:<4} {'manual' if manual else 'at the sync':<12} {np.median(costs) * 1e6:7.3f} "
        f"({low * 1e6:.3f} .. {high * 1e6:.3f})  {'told' if term.median else 'not told from none':<18} "
        f"{first_writes:8.0f} {np.median([t.rounds_per_s for t in turns]):6.1f} {held / plain - 1:8.1%}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment and print a line for each case."""
    parser = argparse.ArgumentParser(prog="validation.experiments.write_protection", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--only", help="release and accelerator, as 10.0-kvm")
    options = parser.parse_args(arguments)
    print("QEMU  accel protects     us a first write: median (interval)      first/s  rounds/s  log held")
    with tempfile.TemporaryDirectory() as folder:
        for version, accel, manual in CASES:
            if options.only not in (None, f"{version}-{accel}"):
                continue
            command = os.path.expandvars(COMMANDS[version])
            if "$" in command:
                print(f"left out: {version}, because {command[1:]} is not set", file=sys.stderr)
                continue
            command = command if manual else without_manual_protect(command, Path(folder))
            qemu = QemuSpec(command=command, version=version, accel=accel)
            turns = measure_write_faults(qemu, repeats=options.repeats, turns=options.turns)
            print(line(version, accel, manual, turns), flush=True)


if __name__ == "__main__":
    main()
