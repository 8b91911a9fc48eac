"""XBZRLE, auto-converge, dirty-limit and multifd, predicted beside measured: their sections of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from migsim.results import MigrationResult, cache_hit_rate, throttle_steps
from migsim.study.guest_progress import guest_lost_s
from validation.scores import Scored

__all__ = ["MECHANISMS", "MULTIFD", "guest_lost_s", "mechanism_of", "section", "step_errors"]

MECHANISMS = ("xbzrle", "auto-converge", "dirty-limit")
MULTIFD = "multifd"


def mechanism_of(s: Scored) -> str:
    """Which of the mechanisms a scenario is about; empty for plain precopy."""
    on = s.scenario.migration.capabilities
    return next((name for name in (*MECHANISMS, MULTIFD) if on.get(name)), "")


def section(scored: Sequence[Scored]) -> str:
    """Compose the section of all mechanisms."""
    through_channels = [s for s in scored if mechanism_of(s) == MULTIFD]
    one_channel = [s for s in scored if mechanism_of(s) != MULTIFD]
    parts = ["## XBZRLE, auto-converge, dirty-limit", "", _summary(one_channel), ""]
    for name, table in (("xbzrle", _xbzrle), ("auto-converge", _throttled), ("dirty-limit", _limited)):
        own = [s for s in scored if mechanism_of(s) == name]
        if own:
            parts += [f"### {name}", "", table(own), ""]
    if through_channels:
        parts += ["## multifd", "", _multifd(through_channels), ""]
    return "\n".join(parts)


def _summary(scored: Sequence[Scored]) -> str:
    done = [s for s in scored if s.converged]
    coded = [s for s in scored if mechanism_of(s) == "xbzrle"]
    stepped = [s for s in scored if mechanism_of(s) == "auto-converge"]
    wrong = [s.name for s in scored if not s.right]
    steps = [abs(e) <= r for s in stepped for _, e, r in step_errors(s)]
    times = [_relative(s, "total-time") for s in done]
    size = [abs(s.prediction.median("xbzrle-bytes") / _measured(s, _xbzrle_bytes) - 1) for s in coded]
    rate = [abs(s.prediction.median("cache-hit-rate") - _measured(s, _hit_rate)) * 100 for s in coded]
    lost = [abs(_lost(s) - _measured(s, guest_lost_s)) / _span_s(s) * 100 for s in scored]
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
    for s in scored:
        cells = [
            *_common(s),
            _pair(s.prediction.median("xbzrle-bytes") / 1e6, _measured(s, _xbzrle_bytes) / 1e6, ".2f"),
            f"{s.prediction.median('cache-hit-rate'):.1%} / {_measured(s, _hit_rate):.1%}",
            f"{s.prediction.result.info['xbzrle-cache']['overflow']} / {_measured(s, _overflow):.0f}",
            _lost_cell(s),
        ]
        lines.append(f"| {s.name.removeprefix('kvm-xbzrle-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _throttled(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | steps: % at s, predicted / measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in scored:
        steps = ", ".join(
            f"{percentage}: {measured + error:.1f} / {measured:.1f}"
            for (percentage, error, _), measured in zip(
                step_errors(s), _measured_steps(s).values(), strict=False
            )
        )
        cells = [*_common(s), _lost_cell(s), steps]
        lines.append(f"| {s.name.removeprefix('kvm-throttle-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _limited(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | sleep ms | longest sync s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in scored:
        cells = [
            *_common(s),
            _lost_cell(s),
            f"{_sleep_ms(s.prediction.result):.0f} / {_measured(s, _sleep_ms):.0f}",
            f"{_longest_sync_s(s.prediction.result):.2f} / {_measured(s, _longest_sync_s):.2f}",
        ]
        lines.append(f"| {s.name.removeprefix('kvm-dirty-limit-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _multifd(scored: Sequence[Scored]) -> str:
    lines = [
        "| scenario | verdict | total s | downtime ms | MiB | guest lost s | dirty-sync-count |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in scored:
        rounds = f"{s.predicted('rounds'):.0f} / {np.median(s.measured['rounds']):.0f}"
        cells = [*_common(s), _lost_cell(s), rounds]
        lines.append(f"| {s.name.removeprefix('kvm-multifd-')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _common(s: Scored) -> list[str]:
    """Verdict, total time, downtime and bytes: predicted / median measured."""
    ends = sum(r.outcome.status == "completed" for r in s.runs)
    sent = _pair(s.prediction.median("transferred") / 2**20, _measured(s, _transferred) / 2**20, ".0f")
    verdict = f"{s.prediction.result.outcome.status} / {ends} of {len(s.runs)} completed"
    if not (s.converged and s.right):
        return [verdict, "-", "-", sent]
    times = s.measured["total-time"] / 1000
    downtime = s.measured["downtime"]
    return [
        verdict,
        _pair(s.predicted("total-time") / 1000, float(np.median(times)), ".2f")
        + f" [{times.min():.2f}..{times.max():.2f}]",
        f"{s.predicted('downtime'):.0f} / {np.median(downtime):.0f} [{downtime.min():.0f}..{downtime.max():.0f}]",
        sent,
    ]


def step_errors(s: Scored) -> list[tuple[int, float, float]]:
    """For each percentage that was measured: predicted less measured time, and the length of the round it fell in."""
    found = []
    for percentage, t_s in _measured_steps(s).items():
        predicted = s.prediction.median(f"throttle-{percentage}")
        nearest = min(s.runs, key=lambda r: abs(throttle_steps(r.timeline).get(percentage, 1e9) - t_s))
        starts = nearest.iterations["start_s"].to_numpy(float)
        before = starts[starts <= t_s]
        length = float(before[-1] - before[-2]) if len(before) > 1 else t_s
        error = predicted - t_s if np.isfinite(predicted) else float("inf")
        found.append((percentage, error, length))
    return found


def _measured_steps(s: Scored) -> dict[int, float]:
    """Median over the repeats of when each percentage began; those that most repeats reached."""
    seen = [throttle_steps(r.timeline) for r in s.runs]
    every = sorted({p for steps in seen for p in steps})
    times = {p: [steps[p] for steps in seen if p in steps] for p in every}
    return {p: float(np.median(v)) for p, v in times.items() if 2 * len(v) > len(seen)}


def _lost(s: Scored) -> float:
    return s.prediction.median("guest-lost") / 1000


def _lost_cell(s: Scored) -> str:
    return f"{_lost(s):.1f} / {_measured(s, guest_lost_s):.1f}"


def _span_s(s: Scored) -> float:
    return float(np.median([r.info["total-time"] for r in s.runs])) / 1000


def _measured(s: Scored, read: Callable[[MigrationResult], float]) -> float:
    """Median over the repeats."""
    return float(np.median([read(r) for r in s.runs]))


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


def _relative(s: Scored, metric: str) -> float:
    if not s.right:
        return float("inf")
    return abs(s.predicted(metric) / float(np.median(s.measured[metric])) - 1)


def _pair(predicted: float, measured: float, form: str) -> str:
    return f"{predicted:{form}} / {measured:{form}} ({predicted / measured - 1:+.1%})"


def _percent(values: Sequence[float]) -> str:
    return f"median {np.median(values):.1%}, most {max(values):.1%}" if len(values) else "-"
