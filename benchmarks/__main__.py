"""Runs all benchmarks and writes their figures into one flat JSON object.

python -m benchmarks [-o benchmarks/results.json] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import stream_collector, whole_process
from migsim.files import write_text_atomically

HERE = Path(__file__).parent


def main() -> None:
    arguments = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    arguments.add_argument("-o", "--output", type=Path, default=HERE / "results.json")
    arguments.add_argument("--repeats", type=int, default=5)
    given = arguments.parse_args()
    results: dict[str, float] = {"repeats": given.repeats}
    results |= stream_collector.all_figures(stream_collector.STREAMS, seconds=2.0, repeats=given.repeats)
    results |= whole_process.figures(given.repeats)
    text = json.dumps(results, indent=2) + "\n"
    write_text_atomically(given.output, text)
    print(text, end="")


if __name__ == "__main__":
    main()
