"""The rule that scales a traced guest, against traces and migrations of guests with two and four times the memory."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import migsim
from migsim.models.guest.scaling import RULE, page_kinds
from migsim.results import MigrationResult
from migsim.scenario import LabScenario, MigrationSettings
from migsim.study.matching import matching_profile
from migsim.study.scaling import GuestSize, predict_scaled, scale_workload
from validation.places import HOSTS, RECORDS, TRACES

GIB = 1 << 30
SIZES = {"order-2g": 2, "order-4g": 4, "order-8g": 8}


@cache
def traced(name):
    """Return a traced guest's fitted workload, and its size with its transactions a second."""
    trace = migsim.Trace.open(TRACES / f"{name}.trace")
    pace = trace.meta.self_check["operations_per_s_traced"]
    return migsim.fit_workload(trace).workload, GuestSize(SIZES[name] * GIB, 1, 75, transactions_per_s=pace)


def pages_of(workload, size):
    """Sum pages and writes a second of each kind of page."""
    rates = [c.writes_per_page_per_s for c in workload.classes]
    kinds = page_kinds(rates, [c.pattern for c in workload.classes], size.transactions_per_s, size.users)
    sums = {}
    for kind, c in zip(kinds, workload.classes, strict=True):
        pages, writes = sums.get(kind, (0, 0.0))
        sums[kind] = (pages + c.pages, writes + c.writes_per_s)
    return sums


def zero_share(name):
    workload, _ = traced(name)
    return workload.zero_pages / (workload.ram_total_bytes // 4096)


def test_the_pools_exponent_is_that_of_the_two_smaller_guests():
    small, large = (pages_of(*traced(name)) for name in ("order-2g", "order-4g"))
    exponent = np.log(large["pool"][0] / small["pool"][0]) / np.log(2)
    assert exponent == pytest.approx(RULE["pool"].pages.median, abs=0.05)


@pytest.mark.parametrize("name", ["order-4g", "order-8g"])
def test_pages_and_writes_of_a_larger_guest_follow_the_rule(name):
    """Pages within the rule's spread, writes within 15 %; the exponent was not fitted to the guest of 8 GiB."""
    (workload, small), (larger_workload, large) = traced("order-2g"), traced(name)
    scaled = pages_of(scale_workload(workload, small, large), large)
    measured = pages_of(larger_workload, large)
    assert set(scaled) == set(measured) == {"pool", "session", None}
    for kind in ("pool", "session"):
        rule = RULE[kind].pages
        spread = rule.spread * np.log(large.ram_bytes / small.ram_bytes)
        fit = 0.1  # difference between the fits of two guests of the same size
        assert abs(np.log(measured[kind][0] / scaled[kind][0])) < 1.6 * np.hypot(spread, fit)
    assert sum(w for _, w in measured.values()) == pytest.approx(sum(w for _, w in scaled.values()), rel=0.15)


@pytest.mark.parametrize(
    ("name", "knows_zero", "total", "sent"),
    [
        ("order-4g", True, 0.02, 0.03),
        ("order-8g", True, 0.02, 0.03),
        # the larger guest uses less of its memory than the traced one
        ("order-8g", False, 0.12, 0.12),
    ],
)
def test_the_live_migration_of_a_larger_guest(name, knows_zero, total, sent):
    """Predicted from the trace of the guest of 2 GiB, and from how much of its memory the larger one has used."""
    paths = sorted(RECORDS.glob(f"tcg-{name}-800mbps-300ms-q100-*.json"))
    runs = [MigrationResult.load(path) for path in paths]
    assert runs
    scenario = LabScenario.from_dict(runs[0].scenario, where=name)
    workload, small = traced("order-2g")
    larger = GuestSize(
        scenario.guest.ram_bytes,
        1,
        75,
        transactions_per_s=small.transactions_per_s,
        zero_fraction=zero_share(name) if knows_zero else None,
    )
    prediction = predict_scaled(
        workload,
        small,
        larger,
        host=matching_profile(runs[0], HOSTS),
        settings=MigrationSettings(parameters=scenario.migration.parameters),
        qemu_version=scenario.qemu.version,
        deadline_s=scenario.deadline_s,
        draws=20,
    )
    measured_s = np.median([run.total_time_ms for run in runs]) / 1000
    measured_bytes = np.median([run.transferred_bytes for run in runs])
    assert prediction.outcome.status == runs[0].outcome.status == "completed"
    assert prediction.median("total-time") / 1000 == pytest.approx(measured_s, rel=total)
    assert prediction.median("transferred") == pytest.approx(measured_bytes, rel=sent)
