"""Cost of a page in the blackout, by the cores that source and destination run on.

    python -m validation.experiments.flush_on_cores [--repeats 4]

Our own guest with a small hot set is migrated with each side on a core of its own, with both sides on one core, and
without pinning. On one core a page costs the sum of sending and receiving; on two cores, like on two hosts, it costs
the larger of the two. The experiment needs two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from migsim.calibrate.host.probes import HOT, host_probes
from migsim.calibrate.host.terms import burst_page_s
from migsim.lab.cores import AUTO, Cores
from migsim.lab.migrate import run_migration
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.scenario import LabScenario, PageClass, QemuSpec

__all__ = ["PLACES", "cores_of", "main", "scenario"]

PLACES = ("apart", "same", "free")
RATES_BYTES_PER_S = (16_000_000, 62_500_000)
HOT_PAGES = 3000


def scenario(qemu: QemuSpec, rate_bytes_per_s: int) -> LabScenario:
    """Make the scenario of the switchover's probe, with a hot set that fits the downtime limit at this rate."""
    [probe] = [p.scenario for p in host_probes(qemu) if p.scenario.name == HOT]
    hot = PageClass(base_page=0, pages=HOT_PAGES, share=1, pattern="random", changed_bytes=8)
    workload = probe.guest.workload.replace(touched_pages=8000, classes=(hot,))
    limit_ms = round(1.2 * HOT_PAGES * NORMAL_PAGE_BYTES / rate_bytes_per_s * 1000)
    parameters = {"max-bandwidth": rate_bytes_per_s, "downtime-limit": limit_ms}
    return probe.replace(
        guest=probe.guest.replace(workload=workload),
        migration=probe.migration.replace(parameters=parameters),
        deadline_s=20.0,
    )


def cores_of(place: str, first: int, second: int) -> Cores | None:
    """Return the cores of both sides; None leaves them to the scheduler."""
    return {"apart": Cores((first,), (second,)), "same": Cores((first,), (first,)), "free": None}[place]


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment and print a line for each rate and place."""
    parser = argparse.ArgumentParser(prog="validation.experiments.flush_on_cores", description=__doc__)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args(arguments)
    apart = Cores.parse(AUTO)
    qemu = QemuSpec(command="$MIGSIM_QEMU_10", version="10.0", accel="kvm")
    costs_us: dict[tuple[int, str], list[float]] = {}
    for _ in range(options.repeats):
        for rate in RATES_BYTES_PER_S:
            for place in PLACES:
                cores = cores_of(place, apart.source[0], apart.destination[0])
                run = run_migration(scenario(qemu, rate), pin=cores)
                cost_s = burst_page_s(run)
                if cost_s is None:
                    print(f"left out: {rate} bytes/s, {place}: {run.verdict}, too few pages", file=sys.stderr)
                else:
                    costs_us.setdefault((rate, place), []).append(cost_s * 1e6)
    print("bytes/s      place   us a page: median (least .. most)")
    for (rate, place), us in costs_us.items():
        print(f"{rate:<12} {place:<6}  {statistics.median(us):.2f} ({min(us):.2f} .. {max(us):.2f})")


if __name__ == "__main__":
    main()
