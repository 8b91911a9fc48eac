"""Rounds of tens of milliseconds, traced from a guest whose writes are known: lengths, pages, the guest's pace.

    python -m validation.experiments.short_rounds [--memory 1GiB] [--duration 15s] [--repeats 1]

On QEMU 7.2, 10.0, and 11.1 where MIGSIM_QEMU_11 says how to start it. The guest writes 40,000 times a second to 3,000
pages, by the clock. `pages` is the median, by the length of the round, of the pages found to those that so many writes
touch; `pace` what the guest writes while it is traced to what it writes before; `slice` the least of 0.2 s to the same.
A machine that does other work shows in all three.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from migsim.lab.guest import image_path
from migsim.lab.guest.serial import parse_serial
from migsim.lab.guest_log import wait_ready
from migsim.lab.qemu import QemuProcess, split_command
from migsim.trace import Trace
from migsim.tracer import record_trace
from migsim.units import parse_bytes, parse_duration_s
from validation.experiments.return_path import QEMUS

__all__ = ["main", "measure"]

HOT, WRITES_PER_S = 3000, 40_000
WORKLOAD = f"-- touch=200000 class=0:{HOT}:1:random:bytes=8 pace=clock rate={WRITES_PER_S} report=200"
BOUNDS_S = (0.0, 0.015, 0.03, 0.07, 0.15, 0.4, 1.5, 60.0)


def measure(command: str, memory: int, duration_s: float) -> list[str]:
    """Trace one guest; return a line with what the guest did, and one for each span of lengths."""
    machine = ["-nodefaults", "-display", "none", "-vga", "none", "-accel", "kvm", "-m", f"{memory >> 20}M"]
    backing = [
        "-object",
        f"memory-backend-ram,id=m,size={memory},reserve=off",
        "-machine",
        "memory-backend=m",
    ]
    guest = ["-kernel", str(image_path()), "-append", WORKLOAD]
    with (
        tempfile.TemporaryDirectory() as folder,
        QemuProcess([*split_command(command), *machine, *backing, *guest], Path(folder), "source") as qemu,
    ):
        wait_ready(qemu, 180.0)
        time.sleep(3.0)
        before = parse_serial(qemu.serial_text()).progress
        qemu.qmp.close()
        path = Path(folder) / "guest.trace"
        record_trace(qemu.socket_path, path, method="stream", duration_s=duration_s)
        traced = parse_serial(qemu.serial_text()).progress[len(before) - 1 :]
        trace = Trace.open(path)
        rates = [
            np.diff([line.writes for line in lines]) / np.diff([line.t_us / 1e6 for line in lines])
            for lines in (before[2:], traced)
        ]
        pace, least = rates[1].mean() / rates[0].mean(), rates[1].min() / rates[0].mean()
        stopped = trace.meta.self_check["guest_stopped_ms"]
        said = [f"pace {pace:.2f}  slice {least:.2f}  stopped {stopped:.1f} ms  {trace.meta.note}".rstrip()]
        lengths = (trace.intervals["end_s"] - trace.intervals["start_s"]).to_numpy()
        found = trace.intervals["dirty_pages"].to_numpy() / (HOT * -np.expm1(-WRITES_PER_S * lengths / HOT))
    for low, high in pairwise(BOUNDS_S):
        within = (lengths >= low) & (lengths < high)
        if within.any():
            tenths = np.quantile(found[within], [0.1, 0.5, 0.9])
            said.append(
                f"{within.sum():5} rounds of {1000 * lengths[within].min():7.1f} to "
                f"{1000 * lengths[within].max():7.1f} ms: pages {tenths[1]:.2f} ({tenths[0]:.2f} to {tenths[2]:.2f})"
            )
    return said


def main(arguments: list[str] | None = None) -> None:
    """Trace a guest of each release, and print what came of it."""
    parser = argparse.ArgumentParser(prog="validation.experiments.short_rounds", description=__doc__)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--duration", default="15s")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args(arguments)
    for version, spec in QEMUS.items():
        if version == "11.1" and not os.environ.get("MIGSIM_QEMU_11"):
            print("left out: 11.1, because MIGSIM_QEMU_11 is not set", file=sys.stderr)
            continue
        for _ in range(options.repeats):
            said = measure(
                os.path.expandvars(spec.command),
                parse_bytes(options.memory),
                parse_duration_s(options.duration),
            )
            print(f"QEMU {version}, load {os.getloadavg()[0]:.1f}: " + "\n".join(said), flush=True)


if __name__ == "__main__":
    main()
