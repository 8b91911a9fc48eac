"""Replay of a traced guest of 128 GiB page by page: time, and peak memory of a fresh process.

    python -m benchmarks.replaying [--repeats 5]

A migration is given up after 60 s. The guest full of data reaches this deadline, because its first pass takes longer;
the sparse guest completes before. The time contains reading the trace, but not the start of Python. Prints JSON,
medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.guests import HOST
from benchmarks.timing import ROOT, in_fresh_process, median

TRACES = {"replay.128GiB_60s": "full-128g", "replay.sparse128GiB": "sparse-128g"}
SETTINGS = ["max-bandwidth=10Gbps", "downtime-limit=300ms"]
DEADLINE_S = 60.0


def replay_s(trace: str) -> float:
    """Seconds of one replay; all modules are imported before."""
    from migsim.study.replay import replay
    from migsim.trace import Trace

    begin = time.perf_counter()
    guest = Trace.open(ROOT / "traces" / f"{trace}.trace")
    replay(guest, host=HOST, settings=SETTINGS, qemu_version="10.0", deadline_s=DEADLINE_S)
    return time.perf_counter() - begin


def figures(repeats: int) -> dict[str, float]:
    """Seconds and peak memory in MiB of each trace."""
    found = {}
    for name, trace in TRACES.items():
        runs = [in_fresh_process("replaying", "replay_s", trace) for _ in range(repeats)]
        found[f"{name}.s"] = round(median(f"{name}.s", [seconds for seconds, _ in runs]), 3)
        found[f"{name}.rss_MiB"] = round(median(f"{name}.rss_MiB", [mib for _, mib in runs]))
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
