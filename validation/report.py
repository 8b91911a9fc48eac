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
"""What rivals answer: our metric, their field."""


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
    kvm = [s for s in scored if s.scenario.qemu.accel == "kvm"]
    plain = [s for s in kvm if not mechanism_of(s)]
    text = page(
        plain,
        [s for s in kvm if mechanism_of(s)],
        notes.read_text(encoding="utf-8") if notes.exists() else "",
        tcg=[s for s in scored if s not in kvm],
    )
    write_text_atomically(options.output, text)
    draw(plain, options.output.with_name("predicted-measured.png"))
    print(summary(plain))
    return 0


def page(
    scored: Sequence[Scored], mechanisms: Sequence[Scored], notes: str, tcg: Sequence[Scored] = ()
) -> str:
    """Compose the page: plain precopy, the mechanisms beside it, guests under TCG."""
    return "\n".join(
        [
            "# Predicted beside measured",
            "",
            "Made by `python -m validation.report` from `validation/data/`, `traces/` and the bundled host profiles.",
            "Each prediction sees the guest's trace, the host's profile, the settings and the deadline, nothing of",
            "the runs but, of a Linux guest, how busy it said it was before.",
            "Measured: median over the repeats, lowest to highest in brackets. Predicted: 80 % interval",
            "in brackets.",
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
            "Each is given our curve of unique dirty pages, the settings, and what the host can send at the most.",
            "Medians over every scenario that completed; an answer that is missing or says never counts as infinite.",
            "",
            rival_table(scored),
            "",
            *([section(mechanisms)] if mechanisms else []),
            *(["## Guests under TCG: a database, a store, our own", "", tcg_section(tcg), ""] if tcg else []),
            notes,
        ]
    )


def tcg_section(scored: Sequence[Scored]) -> str:
    """Compose the section of guests under TCG: errors, scenarios, what their users lost."""
    return "\n\n".join(
        [
            summary(scored),
            scenario_table(scored),
            "Transactions lost, told from how long users waited, and by counting against the loop's long-run pace:",
            users_table(scored),
        ]
    )


def summary(scored: Sequence[Scored]) -> str:
    """Median errors, verdicts and coverage, as a Markdown table."""
    small = [s for s in scored if not s.large]
    large = [s for s in scored if s.large]
    wrong = [s.name for s in scored if not s.right]
    inside = {m: [hit for s in scored if s.converged for hit in s.inside(m)] for m in METRICS}
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
    """One row a scenario: verdict and the four metrics."""
    lines = [
        "| scenario | verdict: predicted / measured | total s | downtime ms | MiB | syncs |",
        "|---|---|---|---|---|---|",
    ]
    scale = {"total-time": 1e-3, "downtime": 1.0, "transferred": 2.0**-20, "rounds": 1.0}
    digits = {"total-time": 2, "downtime": 0, "transferred": 0, "rounds": 0}
    for s in scored:
        ours = s.prediction.result.outcome.status
        ends = sum(r.outcome.status == "completed" for r in s.runs)
        verdict = f"{ours} / {ends} of {len(s.runs)} completed" + ("" if s.right else " **wrong**")
        cells = [
            _cell(s, m, scale[m], digits[m]) if s.right and s.converged else _only(s, m, scale[m], digits[m])
            for m in METRICS
        ]
        lines.append(f"| {s.name} | {verdict} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rival_table(scored: Sequence[Scored]) -> str:
    """Ours and each rival's errors: over every scenario that completed, and where the rival answers."""
    lines = [
        "| predictor | total-time | downtime | transferred | wrong verdicts |",
        "|---|---|---|---|---|",
    ]
    done = [s for s in scored if s.converged]
    ours = [_percent(_errors(scored, m)) for m in FIELDS]
    wrong = sum(not s.right for s in scored)
    lines.append(f"| **migsim** | {' | '.join(ours)} | {wrong} of {len(scored)} |")
    for name in RIVALS:
        cells = [_rival_cell(done, name, metric) for metric in FIELDS]
        said = [s for s in scored if s.rivals[name].converges is not None]
        bad = sum(_says_completed(s, name) != s.converged for s in said)
        verdict = f"{bad} of {len(said)}" if said else "says nothing"
        lines.append(f"| {name} | {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines)


def _rival_cell(done: Sequence[Scored], name: str, metric: str) -> str:
    """Median over all (no answer, or "never", is infinite); then where it answers, with ours on the same runs."""
    values = [getattr(s.rivals[name], FIELDS[metric]) for s in done]
    if all(value is None for value in values):
        return "says nothing"
    errors = [
        abs(value / float(np.median(s.measured[metric])) - 1) if value is not None else float("inf")
        for s, value in zip(done, values, strict=True)
    ]
    answered = [s for s, value in zip(done, values, strict=True) if value is not None]
    there = _percent([e for e in errors if np.isfinite(e)])
    ours = _percent(_errors(answered, metric))
    return f"{_percent(errors)}; {there} on the {len(answered)} it answers (ours there {ours})"


def _says_completed(s: Scored, rival: str) -> bool:
    """Whether a rival says that the migration completes before the deadline that it was given."""
    said = s.rivals[rival]
    late = said.total_time_ms is not None and said.total_time_ms > s.scenario.deadline_s * 1000
    return bool(said.converges) and not late


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
        both = [s for s in scored if s.right and s.converged]
        values: list[float] = []
        for s in both:
            x = s.measured[metric] * scale
            y = s.predicted(metric) * scale
            low, high = (v * scale for v in s.prediction.result.intervals[metric])
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


def _cell(s: Scored, metric: str, scale: float, digits: int) -> str:
    values = s.measured[metric] * scale
    low, high = (v * scale for v in s.prediction.result.intervals[metric])
    error = s.predicted(metric) * scale / np.median(values) - 1
    return (
        f"{s.predicted(metric) * scale:.{digits}f} [{low:.{digits}f}..{high:.{digits}f}] / "
        f"{np.median(values):.{digits}f} [{values.min():.{digits}f}..{values.max():.{digits}f}], {error:+.1%}"
    )


def _only(s: Scored, metric: str, scale: float, digits: int) -> str:
    """What there is where predicted and measured do not both have a completed migration."""
    if not s.converged or not len(s.measured[metric]):
        return "-"
    return f"- / {np.median(s.measured[metric]) * scale:.{digits}f}"


def _errors(scored: Iterable[Scored], metric: str) -> list[float]:
    """Absolute relative errors against the median of the repeats; infinite where we said "never"."""
    return [
        abs(s.predicted(metric) / float(np.median(s.measured[metric])) - 1) if s.right else float("inf")
        for s in scored
        if s.converged
    ]


def _absolute(scored: Iterable[Scored], metric: str) -> list[float]:
    return [
        abs(s.predicted(metric) - float(np.median(s.measured[metric]))) if s.right else float("inf")
        for s in scored
        if s.converged
    ]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _percent(values: Sequence[float]) -> str:
    if not len(values):
        return "-"
    return f"{_median(values):.1%}" if np.isfinite(_median(values)) else "infinite"


if __name__ == "__main__":
    raise SystemExit(main())
