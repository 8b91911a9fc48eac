"""Sections of `validation/README.md` on XBZRLE, auto-converge, dirty-limit and multifd."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from migsim.results import MigrationResult, cache_hit_rate, throttle_steps
from migsim.study.guest_progress import guest_lost_s
from validation.scores import Scored

__all__ = ["MECHANISMS", "MULTIFD", "guest_lost_s", "mechanism_of", "section", "step_errors"]

MECHANISMS = ("xbzrle", "auto-converge", "dirty-limit")
MULTIFD = "multifd"


def mechanism_of(case: Scored) -> str:
    """Return the mechanism that a scenario is about; empty for plain precopy."""
    capabilities = case.scenario.migration.capabilities
    return next((name for name in (*MECHANISMS, MULTIFD) if capabilities.get(name)), "")


def section(scored: Sequence[Scored]) -> str:
    """Compose the sections of all mechanisms."""
    multifd_cases = [case for case in scored if mechanism_of(case) == MULTIFD]
    precopy_cases = [case for case in scored if mechanism_of(case) != MULTIFD]
    parts = ["## XBZRLE, auto-converge, dirty-limit", "", _summary(precopy_cases), ""]
    for name, table in (("xbzrle", _xbzrle), ("auto-converge", _throttled), ("dirty-limit", _limited)):
        cases = [case for case in scored if mechanism_of(case) == name]
        if cases:
            parts += [f"### {name}", "", table(cases), ""]
    if multifd_cases:
        parts += ["## multifd", "", _multifd(multifd_cases), ""]
    return "\n".join(parts)


def _summary(scored: Sequence[Scored]) -> str:
    completed = [case for case in scored if case.converged]
    xbzrle_cases = [case for case in scored if mechanism_of(case) == "xbzrle"]
    throttled_cases = [case for case in scored if mechanism_of(case) == "auto-converge"]
    wrong = [case.name for case in scored if not case.right]
    steps = [abs(error) <= round_s for case in throttled_cases for _, error, round_s in step_errors(case)]
    times = [_relative(case, "total-time") for case in completed]
    size = [
        abs(case.prediction.median("xbzrle-bytes") / _measured(case, _xbzrle_bytes) - 1)
        for case in xbzrle_cases
    ]
    rate = [
        abs(case.prediction.median("cache-hit-rate") - _measured(case, _hit_rate)) * 100
        for case in xbzrle_cases
    ]
    lost = [abs(_lost(case) - _measured(case, guest_lost_s)) / _span_s(case) * 100 for case in scored]
    lost = [value for value in lost if np.isfinite(value)]
    rows = [
        ("wrong verdicts", "none", f"{len(wrong)} of {len(scored)}" + (f": {', '.join(wrong)}" if wrong else "")),
        ("total time", "median error <= 5 %", _percent(times)),
        ("throttle steps within one round", "all", f"{sum(steps)} of {len(steps)}" if steps else "-"),
        ("encoded bytes", "<= 3 %", _percent(size)),
        ("cache hit rate", "within 2 points", f"median {np.median(rate):.1f}, most {max(rate):.1f}" if rate else "-"),
        ("guest's lost time, of the migration", "", f"median {np.median(lost):.1f} points" if lost else "-"),
    ]  # fmt: skip
    lines = ["| | aim | here |", "|---|---|---|"]
    return "\n".join(lines + [f"| {a} | {b} | {c} |" for a, b, c in rows])


def _xbzrle(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | encoded MB | hit rate | overflows | guest lost s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in scored:
        cells = [
            *_common(case),
            _pair(case.prediction.median("xbzrle-bytes") / 1e6, _measured(case, _xbzrle_bytes) / 1e6, ".2f"),
            f"{case.prediction.median('cache-hit-rate'):.1%} / {_measured(case, _hit_rate):.1%}",
            f"{case.prediction.example_run.info['xbzrle-cache']['overflow']} / {_measured(case, _overflow):.0f}",
            _lost_cell(case),
        ]
        lines.append(f"| {case.name.removeprefix('kvm-xbzrle-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _throttled(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | steps: % at s, predicted / measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in scored:
        steps = ", ".join(
            f"{percentage}: {measured + error:.1f} / {measured:.1f}"
            for (percentage, error, _), measured in zip(
                step_errors(case), _measured_steps(case).values(), strict=False
            )
        )
        cells = [*_common(case), _lost_cell(case), steps]
        lines.append(f"| {case.name.removeprefix('kvm-throttle-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _limited(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | sleep ms | longest sync s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in scored:
        cells = [
            *_common(case),
            _lost_cell(case),
            f"{_sleep_ms(case.prediction.example_run):.0f} / {_measured(case, _sleep_ms):.0f}",
            f"{_longest_sync_s(case.prediction.example_run):.2f} / {_measured(case, _longest_sync_s):.2f}",
        ]
        lines.append(f"| {case.name.removeprefix('kvm-dirty-limit-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _multifd(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | dirty-sync-count |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in scored:
        rounds = f"{case.predicted('rounds'):.0f} / {np.median(case.measured['rounds']):.0f}"
        cells = [*_common(case), _lost_cell(case), rounds]
        lines.append(f"| {case.name.removeprefix('kvm-multifd-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _common(case: Scored) -> list[str]:
    """Compose the cells of verdict, total time, downtime and bytes: predicted / median of the measured."""
    completed = sum(run.outcome.status == "completed" for run in case.runs)
    sent = _pair(_until_end(case, _transferred) / 2**20, _measured(case, _transferred) / 2**20, ".0f")
    verdict = f"{case.prediction.outcome.status} / {completed} of {len(case.runs)} completed"
    if not (case.converged and case.predicted_to_complete):
        return [verdict, "-", "-", sent]
    times = case.measured["total-time"] / 1000
    downtime = case.measured["downtime"]
    return [
        verdict,
        _pair(case.predicted("total-time") / 1000, float(np.median(times)), ".2f")
        + f" [{times.min():.2f}..{times.max():.2f}]",
        f"{case.predicted('downtime'):.0f} / {np.median(downtime):.0f} [{downtime.min():.0f}..{downtime.max():.0f}]",
        sent,
    ]


def step_errors(case: Scored) -> list[tuple[int, float, float]]:
    """For each measured percentage: its predicted less its measured time, and the length of the round of its start."""
    errors = []
    for percentage, t_s in _measured_steps(case).items():
        predicted = case.prediction.median(f"throttle-{percentage}")
        nearest = min(case.runs, key=lambda run: abs(throttle_steps(run.timeline).get(percentage, 1e9) - t_s))
        starts = nearest.iterations["start_s"].to_numpy(float)
        before = starts[starts <= t_s]
        length = float(before[-1] - before[-2]) if len(before) > 1 else t_s
        error = predicted - t_s if np.isfinite(predicted) else float("inf")
        errors.append((percentage, error, length))
    return errors


def _measured_steps(case: Scored) -> dict[int, float]:
    """Return the median time at which each percentage began, for those that more than half of the repeats reached."""
    by_run = [throttle_steps(run.timeline) for run in case.runs]
    percentages = sorted({percentage for steps in by_run for percentage in steps})
    times = {p: [steps[p] for steps in by_run if p in steps] for p in percentages}
    return {p: float(np.median(t_s)) for p, t_s in times.items() if 2 * len(t_s) > len(by_run)}


def _lost(case: Scored) -> float:
    return _until_end(case, lambda run: run.costs["guest-lost-s"])


def _lost_cell(case: Scored) -> str:
    return f"{_lost(case):.1f} / {_measured(case, guest_lost_s):.1f}"


def _span_s(case: Scored) -> float:
    return float(np.median([run.info["total-time"] for run in case.runs])) / 1000


def _until_end(case: Scored, read: Callable[[MigrationResult], float]) -> float:
    """Return the draws' median of what is counted until the end: the deadline, where they do not converge."""
    return float(np.median([read(run) for run in case.prediction.runs]))


def _measured(case: Scored, read: Callable[[MigrationResult], float]) -> float:
    """Return the median over the repeats."""
    return float(np.median([read(run) for run in case.runs]))


def _xbzrle_bytes(run: MigrationResult) -> float:
    return float(run.info["xbzrle-cache"]["bytes"])


def _overflow(run: MigrationResult) -> float:
    return float(run.info["xbzrle-cache"]["overflow"])


def _hit_rate(run: MigrationResult) -> float:
    rate = cache_hit_rate(run.info)
    return float("nan") if rate is None else rate


def _transferred(run: MigrationResult) -> float:
    return run.transferred_bytes


def _sleep_ms(run: MigrationResult) -> float:
    name = "dirty-limit-throttle-time-per-round"
    return float(run.timeline[name].max()) / 1000 if name in run.timeline else float("nan")


def _longest_sync_s(run: MigrationResult) -> float:
    return float(run.iterations["sync_s"].max())


def _relative(case: Scored, metric: str) -> float:
    if not case.predicted_to_complete:
        return float("inf")
    return abs(case.predicted(metric) / float(np.median(case.measured[metric])) - 1)


def _pair(predicted: float, measured: float, form: str) -> str:
    return f"{predicted:{form}} / {measured:{form}} ({predicted / measured - 1:+.1%})"


def _percent(values: Sequence[float]) -> str:
    return f"median {np.median(values):.1%}, most {max(values):.1%}" if len(values) else "-"
