"""How long it takes to open a trace and read all its pages, and to open it and fit a workload.

python -m benchmarks.trace_reading [--repeats 5]
"""

from __future__ import annotations

import argparse
import json

from benchmarks.timing import ROOT, median_s
from migsim.calibrate.workload.fit import fit_workload
from migsim.trace import Trace

TRACE = ROOT / "traces" / "hot-4g.trace"


def read_pages() -> int:
    """Open the trace and expand the page numbers of all intervals; return how many there are."""
    trace = Trace.open(TRACE)
    return sum(len(trace.pages(i)) for i in range(len(trace.intervals)))


def figures(repeats: int) -> dict[str, float]:
    """Seconds of reading and of fitting, and page numbers read a second."""
    seconds = median_s("trace.read.s", read_pages, repeats)
    return {
        "trace.read.s": round(seconds, 4),
        "trace.read.pages_per_s": round(read_pages() / seconds),
        "trace.fit.s": round(median_s("trace.fit.s", lambda: fit_workload(Trace.open(TRACE)), repeats), 4),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
