"""`make demo`: predict a traced guest's migration, set it beside the real ones, and draw both.

The command lines it runs are shown as they run, for a reader to run again.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.profiles import HostProfile
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.scenario import LabScenario
from migsim.study.matching import predict_record
from migsim.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "main", "plot_metric", "settings_of"]

_DONE, _DOES_NOT_CONVERGE = 0, 4
# title: a name of `MigrationResult.metrics`, the axis's unit, what one of the metric is worth in it
_PANELS = {
    "total time": ("total-time", "s", 1e-3),
    "downtime": ("downtime", "ms", 1.0),
    "sent": ("transferred", "MiB", 2.0**-20),
    "dirty syncs": ("rounds", "", 1.0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the first failing command's exit code, or 0."""
    parser = argparse.ArgumentParser(prog="validation.demo", description=__doc__)
    parser.add_argument("trace", type=Path, help="trace of the running guest")
    parser.add_argument("records", type=Path, nargs="+", help="records of that guest's real migrations")
    parser.add_argument("--host", type=Path, required=True, help="profile of the host they ran on")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo.png"))
    options = parser.parse_args(arguments)
    measured = [MigrationResult.load(path) for path in options.records]
    given = [str(options.trace), "--host", str(options.host)]
    for command in (
        ["trace", "info", str(options.trace)],
        ["predict", *given, *settings_of(measured[0])],
        ["compare", *map(str, options.records), "--trace", *given],
    ):
        print(f"\n$ migsim {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "migsim", *command], check=False).returncode
        if code not in (_DONE, _DOES_NOT_CONVERGE):
            return code
    prediction = predict_record(measured[0], Trace.open(options.trace), HostProfile.load(options.host))
    draw(prediction.result, measured, options.output)
    print(f"\nThe picture is in {options.output}.")
    return 0


def settings_of(record: MigrationResult) -> list[str]:
    """Return the options of `migsim predict` that ask for what a record's scenario asked for."""
    scenario = LabScenario.from_dict(record.scenario)
    words = ["--qemu-version", str(QemuVersion.parse(scenario.qemu.version).release)]
    for name, value in {**scenario.migration.parameters, **scenario.migration.capabilities}.items():
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        words += ["--set", f"{name}={text}"]
    return [*words, "--deadline", f"{scenario.deadline_s:g}s"]


def draw(predicted: MigrationResult, measured: Sequence[MigrationResult], output: Path) -> None:
    """Write one panel a metric: measured in black, predicted as a line with its 80 % band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        plot_metric(title, predicted, measured, ax=axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle(f"{measured[0].name}: predicted from a trace, and {len(measured)} real migrations")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)


def plot_metric(
    title: str, predicted: MigrationResult, measured: Sequence[MigrationResult], *, ax: Axes
) -> Axes:
    """Draw one metric's panel on `ax`."""
    metric, unit, scale = _PANELS[title]
    runs = range(1, len(measured) + 1)
    ax.plot(runs, [record.metrics()[metric] * scale for record in measured], "ko", label="measured")
    ax.axhline(predicted.metrics()[metric] * scale, color="C0", label="predicted")
    if metric in predicted.intervals:
        low, high = predicted.intervals[metric]
        ax.axhspan(low * scale, high * scale, color="C0", alpha=0.2, label="80 % interval")
    ax.set(title=title, xlabel="run", ylabel=unit, ylim=(0, None), xlim=(0.5, len(measured) + 0.5))
    ax.set_xticks(runs)
    return ax


if __name__ == "__main__":
    sys.exit(main())
