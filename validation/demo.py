"""`make demo`: predict the migration of a traced guest, compare it with real migrations, and draw both.

The demo prints each command line before it runs it, so that a reader can run it again.
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
from migsim.results.compare import Predicted
from migsim.scenario import LabScenario
from migsim.study.matching import predict_record
from migsim.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "main", "plot_metric", "settings_of"]

_DONE, _DOES_NOT_CONVERGE = 0, 4
_PANELS = {
    "total time": ("total-time", "s", 1e-3),
    "downtime": ("downtime", "ms", 1.0),
    "sent": ("transferred", "MiB", 2.0**-20),
    "dirty syncs": ("rounds", "", 1.0),
}
"""By title: a name of `MigrationResult.metrics`, the axis's unit, and the factor from the metric to that unit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code of the first command that fails, or 0."""
    parser = argparse.ArgumentParser(prog="validation.demo", description=__doc__)
    parser.add_argument("trace", type=Path, help="trace of the guest")
    parser.add_argument("records", type=Path, nargs="+", help="records of real migrations of that guest")
    parser.add_argument("--host", type=Path, required=True, help="profile of the host of these migrations")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo.png"))
    options = parser.parse_args(arguments)
    measured = [MigrationResult.load(path) for path in options.records]
    inputs = [str(options.trace), "--host", str(options.host)]
    for command in (
        ["trace", "info", str(options.trace)],
        ["predict", *inputs, *settings_of(measured[0])],
        ["compare", *map(str, options.records), "--trace", *inputs],
    ):
        print(f"\n$ migsim {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "migsim", *command], check=False).returncode
        if code not in (_DONE, _DOES_NOT_CONVERGE):
            return code
    prediction = predict_record(measured[0], Trace.open(options.trace), HostProfile.load(options.host))
    draw(prediction, measured, options.output)
    print(f"\nThe picture is in {options.output}.")
    return 0


def settings_of(record: MigrationResult) -> list[str]:
    """Return the options of `migsim predict` that stand for the scenario of a record."""
    scenario = LabScenario.from_dict(record.scenario)
    words = ["--qemu-version", str(QemuVersion.parse(scenario.qemu.version).release)]
    for name, value in {**scenario.migration.parameters, **scenario.migration.capabilities}.items():
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        words += ["--set", f"{name}={text}"]
    return [*words, "--deadline", f"{scenario.deadline_s:g}s"]


def draw(predicted: Predicted, measured: Sequence[MigrationResult], output: Path) -> None:
    """Write a picture with a panel for each metric: measured in black, predicted as a line with its 80 % band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        plot_metric(title, predicted, measured, ax=axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle(f"{measured[0].name}: predicted from a trace, and {len(measured)} real migrations")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)


def plot_metric(title: str, predicted: Predicted, measured: Sequence[MigrationResult], *, ax: Axes) -> Axes:
    """Draw the panel of one metric."""
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
