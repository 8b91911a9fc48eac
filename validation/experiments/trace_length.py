"""How the length of a trace decides how wide the intervals of a prediction are.

    python -m validation.experiments.trace_length [TRACE...] [--draws 40]

Each trace is cut off after 5, 10 and 20 seconds, and the same question is asked of each piece and of the whole. A row
has the deviation of the guest's mean rate, the share of draws that complete, and the widths of the 80 % intervals of
total time and bytes over their medians. All pieces begin with the trace, whose short windows come first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from migsim import predict
from migsim.study.predict import Prediction
from migsim.trace import Trace
from migsim.trace.writer import TraceWriter
from validation.places import TRACES

__all__ = ["LENGTHS_S", "cut", "main", "relative_width"]

LENGTHS_S = (5.0, 10.0, 20.0)
GUESTS = ("hot-4g", "zipf-8g", "sparse-128g")
SETTINGS = {"max-bandwidth": "2500Mbps", "downtime-limit": "300ms"}


def cut(trace: Trace, seconds: float, target: Path) -> Trace:
    """Write the first seconds of a stream trace as a trace of its own, and open it.

    Parameters
    ----------
    trace : Trace
    seconds : float
        Rounds and windows that end later are left out, and samples of contents.
    target : Path
        Where the piece is written.

    Examples
    --------
    >>> cut(Trace.open("db.trace"), 5.0, Path("short.trace")).meta.duration_s           # doctest: +SKIP
    5.0
    """
    with TraceWriter(target, replace(trace.meta, duration_s=seconds)) as writer:
        table = trace.columns("intervals")
        for k in np.flatnonzero(table["end_s"] <= seconds).tolist():
            dirty = int(table["dirty_pages"][k])
            writer.add_interval(
                float(table["start_s"][k]),
                float(table["end_s"][k]),
                dirty_pages=dirty,
                sent_pages=int(table["sent_pages"][k]),
                zero_pages=int(table["zero_pages"][k]),
                pages=trace.pages(int(table["interval"][k])) if dirty >= 0 else None,
            )
        windows = trace.columns("windows")
        early = np.flatnonzero(windows["start_s"] + windows["measured_s"] <= seconds).tolist()
        writer.add_windows({name: values[k] for name, values in windows.items()} for k in early)
    return Trace.open(target)


def relative_width(prediction: Prediction, figure: str) -> float:
    """Return the width of an 80 % interval over the median; NaN where most draws do not complete."""
    if prediction.outcome.status != "completed":
        return float("nan")
    low, high = prediction.intervals[figure]
    return (high - low) / prediction.medians[figure]


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment and print a row for each piece."""
    parser = argparse.ArgumentParser(prog="validation.experiments.trace_length", description=__doc__)
    parser.add_argument("traces", nargs="*", type=Path, default=[TRACES / f"{name}.trace" for name in GUESTS])
    parser.add_argument("--draws", type=int, default=40)
    options = parser.parse_args(arguments)
    print("trace          length s  rounds  mean's deviation  completed  total width  bytes width  total s")
    with tempfile.TemporaryDirectory() as folder:
        for path in options.traces:
            whole = Trace.open(path)
            pieces = [cut(whole, s, Path(folder) / f"{path.stem}-{s:g}.trace") for s in LENGTHS_S]
            for trace in [*pieces, whole]:
                found = predict(trace, settings=SETTINGS, qemu_version="10.0", draws=options.draws)
                spread = found.fit.workload.writes_spread if found.fit else np.nan
                widths = [relative_width(found, figure) for figure in ("total-time", "transferred")]
                print(
                    f"{path.stem:<14} {trace.meta.duration_s:8.0f} {len(trace.intervals):7d} {spread:17.1%}"
                    f" {found.completed_fraction:10.0%} {widths[0]:12.0%} {widths[1]:12.0%}"
                    f" {found.medians.get('total-time', np.nan) / 1000:8.2f}"
                )
                for warning in found.basis.warnings:
                    print(f"    {warning}")


if __name__ == "__main__":
    main(sys.argv[1:])
