"""Time and SimPy events that the event engine needs for one migration.

    python -m benchmarks.event_engine [--repeats 5]

The OLTP guest of `benchmarks.guests` with 128 GiB and with 16 TiB, one after the other in each repeat.
"""

from __future__ import annotations

import argparse
import json
from unittest import mock

import simpy

from benchmarks.guests import GIB, oltp, precopy
from benchmarks.timing import median, median_s, seconds_of
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput

SIZES_GIB = (128, 16 * 1024)


def count_events(migration: SimulationInput) -> int:
    """Count the SimPy events of one migration."""
    count = 0
    step = simpy.Environment.step

    def counted(environment: simpy.Environment) -> None:
        nonlocal count
        count += 1
        step(environment)

    with mock.patch.object(simpy.Environment, "step", counted):
        simulate(migration)
    return count


def figures(repeats: int) -> dict[str, float]:
    """Seconds and events of the guests with 128 GiB and 16 TiB, and the ratio of their times."""
    small, large = (precopy(oltp(gib * GIB)) for gib in SIZES_GIB)
    all_written = precopy(oltp(SIZES_GIB[-1] * GIB, all_written=True))
    simulate(small)
    seconds, ratios = [], []
    for _ in range(repeats):
        seconds.append(seconds_of(lambda: simulate(small)))
        ratios.append(seconds_of(lambda: simulate(large)) / seconds[-1])
    return {
        "des.oltp128.s": round(median("des.oltp128.s", seconds), 5),
        "des.oltp128.events": count_events(small),
        "des.16TiB.events": count_events(large),
        "des.16TiB.s": round(median_s("des.16TiB.s", lambda: simulate(large), repeats), 5),
        "des.16TiB.all_written.s": round(
            median_s("des.16TiB.all_written.s", lambda: simulate(all_written), repeats), 5
        ),
        "des.16TiB.vs_128GiB.ratio": round(median("des.16TiB.vs_128GiB.ratio", ratios), 2),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
