"""The probes of what a guest loses itself, live: a guest under TCG, by turns that are short."""

from __future__ import annotations

import resource

import pytest

from migsim.calibrate.host.slices import measure_slices
from migsim.calibrate.host.write_faults import HOT_PAGES, ROUND_S, measure_write_faults
from migsim.scenario import QemuSpec

pytestmark = pytest.mark.live

QEMU = QemuSpec(command="$MIGSIM_QEMU_10", version="10.0", accel="tcg")


def spent_s() -> float:
    """Return the processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def test_first_writes_are_seen_at_the_readers_pace_and_cost_microseconds_at_most():
    before = spent_s()
    turns = measure_write_faults(QEMU, repeats=1, turns=3, turn_s=0.3)
    assert spent_s() - before < 60
    assert len(turns) == 3
    for turn in turns:
        assert 0 < turn.first_writes / turn.logged.wall_s < 1.5 * HOT_PAGES / ROUND_S
        assert turn.logged.writes > turn.first_writes
        assert abs(turn.cost_s) < 50e-6


def test_a_throttled_guest_works_and_gets_about_what_the_percentage_leaves():
    before = spent_s()
    turns = measure_slices(QEMU, repeats=1, working_sets=(4 << 20,), percentages=(50, 80), turn_s=1.0)
    assert spent_s() - before < 60
    assert [turn.percentage for turn in turns] == [50, 80]
    for turn in turns:
        assert 0.3 < turn.work_fraction < 1.7
        assert turn.share_kept < 1.3  # less where other programs take the processor
