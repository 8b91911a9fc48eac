"""How long whole processes take from start to end: importing migsim, and a prediction.

    python -m benchmarks.whole_process [--repeats 5]

Predicts a migration of the guest of `make demo`. Bytecode is read from `build/bytecode`, as an installed package would
have it: a first run, which is not counted, writes it. Prints JSON, medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from benchmarks.guests import HOST
from benchmarks.timing import ROOT, median_s

TRACE = ROOT / "traces" / "hot-4g.trace"
SETTINGS = ["--set", "max-bandwidth=2Gbps", "--set", "downtime-limit=300ms"]


def process_s(name: str, arguments: list[str], repeats: int) -> float:
    """Median wall-clock seconds of a Python process; a first run, which fills the page cache, is not counted."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(ROOT / "build" / "bytecode")

    def run_once() -> None:
        subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment
        )

    return median_s(name, run_once, repeats)


def figures(repeats: int) -> dict[str, float]:
    """Seconds of whole processes."""
    predict = ["-m", "migsim", "predict", str(TRACE), "--host", str(HOST), *SETTINGS]
    return {
        "cli.predict.cold_s": round(process_s("cli.predict.cold_s", predict, repeats), 3),
        "import.s": round(process_s("import.s", ["-c", "import migsim"], repeats), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    print(json.dumps(figures(arguments.parse_args().repeats), indent=2))


if __name__ == "__main__":
    main()
