"""`make demo`: predict a traced guest's migration, set it beside the real ones, and draw both.

The command lines it runs are shown as they run, for a reader to run again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migsim.results import MigrationResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["main"]

_DONE, _DOES_NOT_CONVERGE = 0, 4
# title: unit, what one of QEMU's own is worth in it, where it stands in query-migrate's answer
_PANELS = {
    "total time": ("s", 1e-3, ("total-time",)),
    "downtime": ("ms", 1.0, ("downtime",)),
    "sent": ("MiB", 2.0**-20, ("ram", "transferred")),
    "dirty syncs": ("", 1.0, ("ram", "dirty-sync-count")),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the first failing command's exit code, or 0."""
    parser = argparse.ArgumentParser(prog="validation.demo", description=__doc__)
    parser.add_argument("trace", type=Path, help="trace of the running guest")
    parser.add_argument("records", type=Path, nargs="+", help="records of that guest's real migrations")
    parser.add_argument("--host", type=Path, help="profile of the host they ran on")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/demo.png"))
    options = parser.parse_args(arguments)
    measured = [MigrationResult.load(path) for path in options.records]
    host = ["--host", str(options.host)] if options.host else []
    predict = ["predict", str(options.trace), *host, *settings_of(measured[0])]
    for command in (
        ["trace", "info", str(options.trace)],
        predict,
        ["compare", *map(str, options.records), "--trace", str(options.trace), *host],
    ):
        code = run_migsim(command)
        if code not in (_DONE, _DOES_NOT_CONVERGE):
            return code
    draw(predicted_by(predict), measured, options.output)
    print(f"\nThe picture is in {options.output}.")
    return 0


def settings_of(record: MigrationResult) -> list[str]:
    """Return the options that ask for what a record's scenario asked for."""
    migration = record.scenario.get("migration", {})
    words = ["--qemu-version", ".".join(record.qemu_version.split(".")[:2])]
    for name, value in {**migration.get("parameters", {}), **migration.get("capabilities", {})}.items():
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
        words += ["--set", f"{name}={text}"]
    return words


def run_migsim(words: list[str]) -> int:
    """Show a command line and run it."""
    print(f"\n$ migsim {shlex.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", "migsim", *words], check=False).returncode


def predicted_by(words: list[str]) -> dict[str, Any]:
    """Return what a `migsim predict` command says, as the JSON object it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "migsim", *words, "--format", "json"], check=False, stdout=subprocess.PIPE
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def draw(predicted: dict[str, Any], measured: list[MigrationResult], output: Path) -> None:
    """Write one panel a quantity: measured in black, predicted as a line with its 80 % band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        plot_quantity(title, predicted, measured, ax=axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    figure.suptitle(f"{measured[0].name}: predicted from a trace, and {len(measured)} real migrations")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)


def plot_quantity(
    title: str, predicted: dict[str, Any], measured: list[MigrationResult], *, ax: Axes
) -> Axes:
    """Draw one quantity's panel on `ax`."""
    unit, scale, path = _PANELS[title]
    runs = [value * scale for record in measured if (value := _at(record.info, path)) is not None]
    ax.plot(range(1, len(runs) + 1), runs, "ko", label="measured")
    answer = _at(predicted, path)
    if answer is not None:
        ax.axhline(answer * scale, color="C0", label="predicted")
    band = _interval(predicted.get("intervals", {}), path)
    if band is not None:
        ax.axhspan(band[0] * scale, band[1] * scale, color="C0", alpha=0.2, label="80 % interval")
    ax.set(title=title, xlabel="run", ylabel=unit, ylim=(0, None), xlim=(0.5, max(len(runs), 1) + 0.5))
    ax.set_xticks(range(1, len(runs) + 1))
    return ax


def _at(info: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        info = info.get(name) if isinstance(info, dict) else None
    return info


def _interval(intervals: dict[str, Any], path: tuple[str, ...]) -> tuple[float, float] | None:
    for name in (".".join(path), path[-1], "-".join(path)):
        if intervals.get(name):
            low, high = intervals[name]
            return low, high
    return None


if __name__ == "__main__":
    sys.exit(main())
