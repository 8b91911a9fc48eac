"""Make `validation/README.md` and its picture from the records: `python -m validation.report`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from migsim.files import atomic_path, write_text_atomically
from validation.mechanisms import mechanism_of, section
from validation.places import HOSTS, PAGES, RECORDS, TRACES
from validation.rivals import RIVALS
from validation.scores import METRICS, Scored, load_records, score
from validation.users import users_table

FIELDS = {
    "total-time": "total_time_ms",
    "downtime": "downtime_ms",
    "transferred": "transferred_bytes",
}
"""Metrics that rivals answer, with the field of `RivalPrediction`."""


def main(arguments: list[str] | None = None) -> int:
    """Score every recorded scenario and write the page."""
    parser = argparse.ArgumentParser(prog="validation.report", description=__doc__)
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--hosts", type=Path, default=HOSTS)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("-o", "--output", type=Path, default=PAGES / "README.md")
    options = parser.parse_args(arguments)
    scored = [
        score(runs, options.traces, options.hosts, draws=options.draws)
        for runs in load_records(options.records).values()
    ]
    notes = options.output.with_name("notes.md")
    kvm = [case for case in scored if case.scenario.qemu.accel == "kvm"]
    plain = [case for case in kvm if not mechanism_of(case)]
    text = page(
        plain,
        [case for case in kvm if mechanism_of(case)],
        notes.read_text(encoding="utf-8") if notes.exists() else "",
        tcg=[case for case in scored if case not in kvm],
    )
    write_text_atomically(options.output, text)
    draw(plain, options.output.with_name("predicted-measured.png"))
    print(summary(plain))
    return 0


def page(
    scored: Sequence[Scored], mechanisms: Sequence[Scored], notes: str, tcg: Sequence[Scored] = ()
) -> str:
    """Compose the page: plain precopy, the mechanisms, guests under TCG."""
    return "\n".join(
        [
            "# Predicted beside measured",
            "",
            "Made by `python -m validation.report` from `validation/data/`, `traces/` and the bundled host profiles.",
            "A prediction uses the guest's trace, the host's profile, the settings and the deadline. It uses nothing",
            "of the runs, except the load that a Linux guest reported before its migration.",
            "Measured: median of the repeats, lowest to highest in brackets. Predicted: 80 % interval in brackets.",
            "",
            summary(scored),
            "",
            "![predicted against measured](predicted-measured.png)",
            "",
            "## Plain precopy, scenario by scenario",
            "",
            scenario_table(scored),
            "",
            "## Rivals on the same runs",
            "",
            "Each rival gets our curve of unique dirty pages, the settings, and the highest rate of the host.",
            "Medians over all scenarios that completed; a missing answer, and the answer never, count as infinite.",
            "",
            rival_table(scored),
            "",
            *([section(mechanisms)] if mechanisms else []),
            *(["## Guests under TCG: a database, a store, our own", "", tcg_section(tcg), ""] if tcg else []),
            notes,
        ]
    )


def tcg_section(scored: Sequence[Scored]) -> str:
    """Compose the section of guests under TCG: errors, scenarios, transactions that their users lost."""
    return "\n\n".join(
        [
            summary(scored),
            scenario_table(scored),
            "Lost transactions, computed from the time that users waited, and by counting against the long-run pace:",
            users_table(scored),
        ]
    )


def summary(scored: Sequence[Scored]) -> str:
    """Compose a table of median errors, verdicts and coverage of the intervals."""
    small = [case for case in scored if not case.large]
    large = [case for case in scored if case.large]
    wrong = [case.name for case in scored if not case.right]
    inside = {
        metric: [hit for case in scored if case.converged for hit in case.inside(metric)]
        for metric in METRICS
    }
    every = [hit for hits in inside.values() for hit in hits]
    each = ", ".join(f"{m} {np.mean(hits):.0%}" for m, hits in inside.items() if hits)
    rows = [
        ("total-time, up to 8 GiB", "median error <= 2 %", _percent(_errors(small, "total-time"))),
        ("total-time, 128 GiB", "<= 10 %", _percent(_errors(large, "total-time"))),
        (
            "downtime",
            "median <= 5 ms or 10 %",
            f"{_median(_absolute(scored, 'downtime')):.1f} ms, {_percent(_errors(scored, 'downtime'))}",
        ),
        ("transferred", "<= 3 %", _percent(_errors(scored, "transferred"))),
        ("rounds (dirty-sync-count)", "", f"{_median(_absolute(scored, 'rounds')):.1f}"),
        (
            "wrong verdicts",
            "none",
            f"{len(wrong)} of {len(scored)}" + (f": {', '.join(wrong)}" if wrong else ""),
        ),
        (
            "inside the 80 % interval",
            "70-90 %",
            f"{np.mean(every):.0%} of {len(every)} ({each})" if every else "-",
        ),
    ]
    lines = ["| | aim | here |", "|---|---|---|"]
    return "\n".join(lines + [f"| {a} | {b} | {c} |" for a, b, c in rows])


def scenario_table(scored: Iterable[Scored]) -> str:
    """Compose a table with a row for each scenario: verdict and the four metrics."""
    lines = [
        "| scenario | verdict: predicted / measured | total s | downtime ms | MiB | syncs |",
        "|---|---|---|---|---|---|",
    ]
    scale = {"total-time": 1e-3, "downtime": 1.0, "transferred": 2.0**-20, "rounds": 1.0}
    digits = {"total-time": 2, "downtime": 0, "transferred": 0, "rounds": 0}
    for case in scored:
        ours, share = case.prediction.outcome.status, case.prediction.completed_fraction
        ends = sum(run.outcome.status == "completed" for run in case.runs)
        verdict = f"{ours} ({share:.0%} of the draws complete) / {ends} of {len(case.runs)}"
        verdict += "" if case.right else " **wrong**"
        cells = [
            _cell(case, m, scale[m], digits[m])
            if case.predicted_to_complete and case.converged
            else _measured_cell(case, m, scale[m], digits[m])
            for m in METRICS
        ]
        lines.append(f"| {case.name} | {verdict} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rival_table(scored: Sequence[Scored]) -> str:
    """Compose a table of our and the rivals' errors, over all scenarios that completed and where the rival answers.

    A rival's verdict counts where all repeats ended alike: it says no more than yes or no.
    """
    lines = [
        "| predictor | total-time | downtime | transferred | wrong verdicts |",
        "|---|---|---|---|---|",
    ]
    completed = [case for case in scored if case.converged]
    ours = [_percent(_errors(scored, m)) for m in FIELDS]
    wrong = sum(not case.right for case in scored)
    lines.append(f"| **migsim** | {' | '.join(ours)} | {wrong} of {len(scored)} |")
    for name in RIVALS:
        cells = [_rival_cell(completed, name, metric) for metric in FIELDS]
        answered = [case for case in scored if case.agreed and case.rivals[name].converges is not None]
        wrong = sum(_rival_completes(case, name) != case.converged for case in answered)
        verdict = f"{wrong} of {len(answered)}" if answered else "says nothing"
        lines.append(f"| {name} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)


def _rival_cell(completed: Sequence[Scored], name: str, metric: str) -> str:
    """Write a rival's median error over all scenarios (no answer, or "never", is infinite), and where it answers.

    The second comes with our error on the same runs.
    """
    values = [getattr(case.rivals[name], FIELDS[metric]) for case in completed]
    if all(value is None for value in values):
        return "says nothing"
    errors = [
        abs(value / float(np.median(case.measured[metric])) - 1) if value is not None else float("inf")
        for case, value in zip(completed, values, strict=True)
    ]
    answered = [case for case, value in zip(completed, values, strict=True) if value is not None]
    finite = _percent([error for error in errors if np.isfinite(error)])
    ours = _percent(_errors(answered, metric))
    return f"{_percent(errors)}; {finite} on the {len(answered)} it answers (ours there {ours})"


def _rival_completes(case: Scored, rival: str) -> bool:
    """Whether a rival predicts that the migration completes before the scenario's deadline."""
    prediction = case.rivals[rival]
    total_ms = prediction.total_time_ms
    late = total_ms is not None and total_ms > case.scenario.deadline_s * 1000
    return bool(prediction.converges) and not late


def draw(scored: Sequence[Scored], path: Path) -> None:
    """Draw predicted against measured for total time, downtime and bytes."""
    from matplotlib.figure import Figure

    from migsim.plot.style import LIMIT, finish

    figure = Figure(figsize=(12, 4), layout="constrained")
    panels = {
        "total-time": ("total time [s]", 1e-3),
        "downtime": ("downtime [ms]", 1.0),
        "transferred": ("transferred [MiB]", 2.0**-20),
    }
    for ax, (metric, (label, scale)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        drawn = [case for case in scored if case.predicted_to_complete and case.converged]
        values: list[float] = []
        for case in drawn:
            x = case.measured[metric] * scale
            y = case.predicted(metric) * scale
            low, high = (v * scale for v in case.prediction.intervals[metric])
            ax.plot(x, [y] * len(x), "o", color="black", markersize=3)
            ax.plot([np.median(x)] * 2, [low, high], color="#1f77b4", linewidth=4, alpha=0.4)
            values += [*x, y]
        if values:
            edge = [min(values) * 0.8, max(values) * 1.25]
            ax.plot(edge, edge, **LIMIT)
            ax.set_xscale("log")
            ax.set_yscale("log")
        finish(ax, title=label, x="measured", y="predicted, 80 % interval")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _cell(case: Scored, metric: str, scale: float, digits: int) -> str:
    values = case.measured[metric] * scale
    low, high = (v * scale for v in case.prediction.intervals[metric])
    error = case.predicted(metric) * scale / np.median(values) - 1
    return (
        f"{case.predicted(metric) * scale:.{digits}f} [{low:.{digits}f}..{high:.{digits}f}] / "
        f"{np.median(values):.{digits}f} [{values.min():.{digits}f}..{values.max():.{digits}f}], {error:+.1%}"
    )


def _measured_cell(case: Scored, metric: str, scale: float, digits: int) -> str:
    """Write the measured median alone, for a scenario without a right prediction that it completes."""
    if not case.converged or not len(case.measured[metric]):
        return "-"
    return f"- / {np.median(case.measured[metric]) * scale:.{digits}f}"


def _errors(scored: Iterable[Scored], metric: str) -> list[float]:
    """Return absolute relative errors against the median of the repeats; infinite where we say that it never ends."""
    return [
        abs(case.predicted(metric) / float(np.median(case.measured[metric])) - 1)
        if case.predicted_to_complete
        else float("inf")
        for case in scored
        if case.converged
    ]


def _absolute(scored: Iterable[Scored], metric: str) -> list[float]:
    return [
        abs(case.predicted(metric) - float(np.median(case.measured[metric])))
        if case.predicted_to_complete
        else float("inf")
        for case in scored
        if case.converged
    ]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _percent(values: Sequence[float]) -> str:
    if not len(values):
        return "-"
    return f"{_median(values):.1%}" if np.isfinite(_median(values)) else "infinite"


if __name__ == "__main__":
    raise SystemExit(main())
