"""Tables for a terminal: a prediction, a comparison with measured runs, a host profile, a fitted workload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from migsim.results.render import figure_label, format_amount, format_figure
from migsim.text import visible
from migsim.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from migsim.calibrate.workload.fit import WorkloadFit
    from migsim.profiles import HostProfile
    from migsim.study.basis import Basis
    from migsim.study.predict import Prediction

__all__ = ["basis_lines", "comparison_table", "fit_table", "prediction_table", "profile_table"]


def prediction_table(prediction: Prediction, console: Console, *, nearest: str = "") -> None:
    """Print a prediction: verdict and reason, medians with 80 % intervals, the example run, what it stands on.

    Parameters
    ----------
    prediction : Prediction
    console : rich.console.Console
    nearest : str
        The nearest settings with which a migration converges that does not, as a sentence.
    """
    from rich.table import Table
    from rich.text import Text

    completed = prediction.outcome.status == "completed"
    word = "converges" if completed else "does not converge"
    share = f" ({prediction.completed_fraction:.0%} of the draws complete). {prediction.outcome.reason}"
    console.print(Text.assemble((word, "bold"), share))
    if nearest:
        console.print(nearest)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "median", "80 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in prediction.medians.items():
        if value != value:
            continue
        low, high = prediction.intervals.get(name, (value, value))
        table.add_row(
            figure_label(name),
            format_figure(name, value),
            f"{format_figure(name, low)} .. {format_figure(name, high)}",
        )
    console.print(table)
    for line in (*_mechanism_lines(prediction), *_example_lines(prediction)):
        console.print(line)
    basis_lines(prediction.basis, prediction.assumptions, console)


def basis_lines(basis: Basis | None, assumptions: Iterable[str], console: Console) -> None:
    """Print what an answer stands on, warnings first, and its assumptions, a line each."""
    for heading, text in basis.lines if basis else ():
        style = "bold" if heading == "warning" else "dim"
        console.print(f"{heading}: {text}", style=style)
    for note in assumptions:
        console.print(f"assumed: {note}", style="dim")


def _example_lines(prediction: Prediction) -> list[str]:
    """Describe the downtime of the example run by its parts."""
    run = prediction.example_run
    if not run.downtime_parts_ms:
        return []
    parts = " + ".join(f"{name} {ms:.1f}" for name, ms in run.downtime_parts_ms.items())
    return [f"example run, the draw nearest the medians: downtime {run.downtime_ms:.0f} ms = {parts}"]


def _mechanism_lines(prediction: Prediction) -> list[str]:
    """Describe what auto-converge, XBZRLE and dirty-limit do in a prediction, a line for each that is on."""
    from migsim.results import throttle_steps

    lines = []
    throttled = prediction.example_run.scenario.get("capabilities", {}).get("auto-converge")
    percentages = throttle_steps(prediction.example_run.timeline) if throttled else ()
    steps = [
        f"{percentage} % from {prediction.median(f'throttle-{percentage}'):.1f} s"
        for percentage in percentages
    ]
    if steps:
        lines.append(f"throttled: {', '.join(steps)}")
    cache = prediction.example_run.info.get("xbzrle-cache")
    if cache and cache["pages"] + cache["cache-miss"]:
        lines.append(
            f"XBZRLE: cache hit rate {prediction.median('cache-hit-rate'):.0%}, "
            f"{format_bytes(prediction.median('xbzrle-bytes'))} encoded; "
            f"{cache['overflow']:,} pages overflow in the example run"
        )
    sleep_us = prediction.example_run.info.get("dirty-limit-throttle-time-per-round")
    if sleep_us:
        lines.append(
            f"dirty-limit: a vCPU sleeps {sleep_us / 1000:.0f} ms whenever its ring is full; bitmap syncs wait for it"
        )
    return lines


def comparison_table(frame: pd.DataFrame, console: Console) -> None:
    """Print the table of `migsim.results.compare`: a row for each scenario and metric."""
    from rich.table import Table
    from rich.text import Text

    from migsim.results import summarise

    table = Table(box=None, pad_edge=False)
    for heading in ("scenario", "", "predicted", "80 % interval", "measured", "lowest .. highest", "error"):
        table.add_column(heading, justify="left" if heading in ("scenario", "") else "right")
    previous = ""
    for row in summarise(frame).to_dict("records"):
        same = (frame["name"] == row["name"]) & (frame["metric"] == row["metric"])
        first = frame[same].to_dict("records")[0]  # the prediction is the same in all rows of a scenario
        unit = str(row["unit"])
        verdict = first["predicted_verdict"]
        if not first["verdict_right"]:
            verdict += f", but {first['measured_verdict']}"
        if row["name"] != previous:
            table.add_row(Text(visible(str(row["name"])), "bold"), verdict)
            previous = str(row["name"])
        if row["measured"] != row["measured"]:
            continue
        table.add_row(
            "",
            str(row["metric"]),
            format_amount(row["predicted"], unit),
            f"{format_amount(first['low'], unit)} .. {format_amount(first['high'], unit)}",
            format_amount(row["measured"], unit),
            f"{format_amount(row['lowest'], unit)} .. {format_amount(row['highest'], unit)}",
            f"{row['relative_error']:+.1%}" if row["relative_error"] == row["relative_error"] else "-",
        )
    console.print(table)


def profile_table(profile: HostProfile, console: Console) -> None:
    """Print a host profile: each term with its median, spread and number of measurements."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("term", "median", "unit", "spread", "measured"):
        table.add_column(heading, justify="right" if heading in ("median", "spread", "measured") else "left")
    for name, term in profile.labelled_terms():
        table.add_row(name, f"{term.median:.3g}", term.unit, f"{term.spread:.1%}", str(term.n))
    console.print(f"QEMU {profile.qemu_version}, {profile.accel}")
    console.print(table)
    for name, term in profile.terms.items():
        if term.measured_between is not None:
            low, high = term.measured_between
            told = "told from none" if term.median else "not told from none"
            console.print(f"{name} was measured between {low:.3g} and {high:.3g} {term.unit}: {told}.")


def fit_table(fit: WorkloadFit, console: Console) -> None:
    """Print fitted page classes and the residuals of the curve."""
    from rich.table import Table

    classes = Table(box=None, pad_edge=False)
    for heading in ("pages", "writes per page per s", "pattern", "places"):
        classes.add_column(heading, justify="right")
    for page_class in fit.workload.classes:
        classes.add_row(
            f"{page_class.pages:,}",
            f"{page_class.writes_per_page_per_s:.3g}",
            page_class.pattern,
            f"{len(page_class.extents)} extents",
        )
    console.print(classes)
    points = Table(box=None, pad_edge=False)
    for heading in ("window", "measured pages", "fitted pages", "error"):
        points.add_column(heading, justify="right")
    rows = fit.residuals.sort_values("window_s")
    step = max(1, len(rows) // 12)
    for row in rows.iloc[::step].to_dict("records"):
        points.add_row(
            f"{row['window_s']:.3g} s",
            f"{row['measured_pages']:,.0f}",
            f"{row['fitted_pages']:,.0f}",
            f"{row['relative_error']:+.1%}",
        )
    console.print(f"{fit.mode} points, residual {fit.spectrum.relative_error:.1%} in the median:")
    console.print(points)
    for note in fit.workload.assumptions:
        console.print(f"assumed: {note}", style="dim")
