"""Run all benchmarks and write their figures into one flat JSON object.

python -m benchmarks [-o benchmarks/results.json] [--repeats 5] [--only batch,rivals]

A benchmark that cannot run writes the reason to stderr and leaves its keys out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path

from migsim.files import write_text_atomically

HERE = Path(__file__).parent
MODULES = (
    "whole_process",
    "event_engine",
    "batch",
    "rivals",
    "sweep",
    "replaying",
    "trace_reading",
    "stream_collector",
)
"""The benchmarks: modules with a function `figures(repeats)`."""


def main() -> None:
    arguments = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    arguments.add_argument("-o", "--output", type=Path, default=HERE / "results.json")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--only", help="names of benchmarks, separated by commas: " + ", ".join(MODULES))
    given = arguments.parse_args()
    names = given.only.split(",") if given.only else MODULES
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        arguments.error(f"no benchmark is named {unknown[0]!r}; the names are {', '.join(MODULES)}")
    results: dict[str, float] = {"repeats": given.repeats}
    failed = []
    for name in names:
        print(f"-- {name}", file=sys.stderr)
        try:
            results |= importlib.import_module(f"benchmarks.{name}").figures(given.repeats)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    text = json.dumps(results, indent=2) + "\n"
    write_text_atomically(given.output, text)
    print(text, end="")
    if failed:
        sys.exit(f"benchmarks: {', '.join(failed)} could not run; their keys are left out.")


if __name__ == "__main__":
    main()
