"""How long whole processes take, from their start to their end: importing migsim, and a prediction.

    python -m benchmarks.whole_process [--repeats 5]

Predicts the guest of `make demo`. Prints JSON, medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRACE = ROOT / "traces" / "hot-4g.trace"
HOST = ROOT / "validation" / "hosts" / "kvm-10.0.json"
SETTINGS = ["--set", "max-bandwidth=2Gbps", "--set", "downtime-limit=300ms"]


def median_s(arguments: list[str], repeats: int) -> float:
    """Median wall-clock time of Python; the first run, which fills the disk's cache, is not counted."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def figures(repeats: int) -> dict[str, float]:
    """Seconds of a whole process."""
    predict = ["-m", "migsim", "predict", str(TRACE), "--host", str(HOST), *SETTINGS]
    return {
        "cli.predict.cold_s": round(median_s(predict, repeats), 3),
        "import.s": round(median_s(["-c", "import migsim"], repeats), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
