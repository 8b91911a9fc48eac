"""What a return path adds to `downtime` and `total-time`: the same small guest migrated with it and without it.

    python -m validation.experiments.return_path [--repeats 7]

The runs with and without it take turns, on QEMU 7.2, 10.0, and 11.1 where MIGSIM_QEMU_11 says how to start it. `load`
is what `downtime` misses of the time until the guest runs on the destination, counted from when the downtime clock
started: blackout + stop - downtime. Without a return path it is the destination's load. With one the source waits for
it, so that nothing is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys

from migsim.lab.migrate import run_migration
from migsim.results import MigrationResult
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec

__all__ = ["QEMUS", "main", "missed_ms", "scenario"]

QEMUS = {
    "7.2": QemuSpec(command="qemu-system-x86_64", version="7.2", accel="kvm"),
    "10.0": QemuSpec(command="$MIGSIM_QEMU_10", version="10.0", accel="kvm"),
    "11.1": QemuSpec(command="$MIGSIM_QEMU_11", version="11.1", accel="kvm"),
}


def scenario(qemu: QemuSpec, return_path: bool) -> LabScenario:
    """Make the scenario: 256 MiB, 8,000 pages of data, 200 of them written all the time."""
    hot = PageClass(base_page=0, pages=200, share=1, pattern="random")
    settings = MigrationSettings(
        parameters={"max-bandwidth": "2Gbps", "downtime-limit": "300ms"},
        capabilities={"return-path": return_path},
    )
    return LabScenario(
        name=f"return-path-{'on' if return_path else 'off'}-q{qemu.version}",
        qemu=qemu,
        guest=GuestSpec(ram_bytes=256 << 20, workload=GuestWorkload(touched_pages=8000, classes=(hot,))),
        migration=settings.for_version(qemu.version),
        settle_s=0.5,
        deadline_s=30.0,
    )


def missed_ms(run: MigrationResult) -> float:
    """Return the time from the end of `downtime` to the guest running on the destination."""
    return run.blackout_ms + run.downtime_parts_ms["stop"] - run.downtime_ms


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment and print a line for each release and choice."""
    parser = argparse.ArgumentParser(prog="validation.experiments.return_path", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    print(
        "QEMU  return-path  downtime ms         blackout ms         load missed ms      rest ms    total ms"
    )
    for version, qemu in QEMUS.items():
        if version == "11.1" and not os.environ.get("MIGSIM_QEMU_11"):
            print("left out: 11.1, because MIGSIM_QEMU_11 is not set", file=sys.stderr)
            continue
        runs: dict[bool, list[MigrationResult]] = {False: [], True: []}
        for _ in range(options.repeats):
            for on, of_choice in runs.items():
                run = run_migration(scenario(qemu, on))
                if run.verdict == "completed" and "stop" in run.downtime_parts_ms:
                    of_choice.append(run)
                else:
                    print(f"left out: {version}, return-path {on}: {run.outcome.reason}", file=sys.stderr)
        for on, of_choice in runs.items():
            columns = (
                [r.downtime_ms for r in of_choice],
                [r.blackout_ms for r in of_choice],
                [missed_ms(r) for r in of_choice],
            )
            spans = [f"{statistics.median(c):5.1f} ({min(c):.1f} .. {max(c):.1f})" for c in columns]
            rest = statistics.median(r.downtime_parts_ms["rest"] for r in of_choice)
            total = statistics.median(r.total_time_ms for r in of_choice)
            words = "on" if on else "off"
            print(
                f"{version:<5} {words:<11}  {'  '.join(f'{s:<18}' for s in spans)}  {rest:<9.1f}  {total:.0f}"
            )


if __name__ == "__main__":
    main()
