"""Why users lose more under auto-converge than is predicted: under TCG a throttled vCPU does less than its share.

The law is QEMU's: of each period a vCPU sleeps `percentage`, and works the rest. Under KVM our own guest counts as many
writes as that says. Under TCG it counts fewer, and the database's users wait longer than the throttle's recorded
percentages account for. Caches that are cold after a sleep make a part of that, by inference: any loop here does less
after one (`validation.experiments.sleeping_slices`).
"""

from __future__ import annotations

import numpy as np
import pytest

from migsim.calibrate.users import fit_loop
from migsim.models.users.course import expected_course, lost_by_waiting
from migsim.results import MigrationResult, transactions
from migsim.study.guest_progress import guest_progress
from validation.places import RECORDS


def runs(pattern):
    return [MigrationResult.load(path) for path in sorted(RECORDS.glob(pattern))]


def percentages(run):
    """Sample times and the throttle's percentages."""
    told = run.timeline["cpu-throttle-percentage"].fillna(0)
    return run.timeline["t_s"].to_numpy(), told.to_numpy()


def share_of_the_law(of):
    """Work that a guest counted between two of its lines while the throttle stood, over what the law leaves it."""
    done = allowed = 0.0
    for run in of:
        at, percent = percentages(run)
        seen = guest_progress(run)
        seen = seen[seen["side"] == "source"]
        t_s, work_s = seen["t_s"].to_numpy(), seen["work_s"].to_numpy()
        for k in range(len(t_s) - 1):
            stood = percent[(at >= t_s[k] - 0.1) & (at <= t_s[k + 1] + 0.1)]
            if len(stood) and stood.min() == stood.max() > 0:
                done += work_s[k + 1] - work_s[k]
                allowed += (1 - stood[0] / 100) * (t_s[k + 1] - t_s[k])
    return done / allowed


def test_a_throttled_vcpu_does_its_share_under_kvm_and_less_under_tcg():
    assert share_of_the_law(runs("kvm-throttle-hot-4g-700mbps-q*.json")) == pytest.approx(1.0, abs=0.03)
    assert 0.75 < share_of_the_law(runs("tcg-throttle-zipf-2g-*.json")) < 0.95


def test_the_recorded_throttle_accounts_for_a_part_of_what_users_lose():
    said, lost = [], []
    for run in runs("tcg-order-2g-auto-converge-*.json"):
        told = transactions(run)
        linux = run.scenario["guest"]["linux"]
        fit = fit_loop(told, users=linux["users"], think_s=linux["think-s"])
        at, percent = percentages(run)
        since = told[told["t_s"] > 0]
        grid = np.arange(0.0, since["t_s"].max(), 0.02)
        stood = percent[np.clip(np.searchsorted(at, grid[:-1], side="right") - 1, 0, None)]
        speed = 1 - np.where(grid[:-1] < run.total_time_ms / 1000, stood, 0) / 100
        course = expected_course(fit.loop, speed[None, :], grid)
        said.append(fit.loop.steady().throughput_per_s * grid[-1] - course.completed[0, -1])
        lost.append(
            lost_by_waiting(
                linux["users"],
                linux["think-s"],
                fit.measured_response_s,
                completed=since["completed"].sum(),
                waited_s=(since["completed"] * since["mean_latency_s"].fillna(0.0)).sum(),
                stopped_s=0.0,  # the blackout is not the throttle's
            )
        )
    assert len(lost) == 3
    assert 0.4 < np.sum(said) / np.sum(lost) < 0.9
