"""What a guest loses itself: costs read from turns are those that the turns were made with."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.calibrate.host.intervals import LEAST_COVERAGE, median_interval, told_term
from migsim.calibrate.host.logged_guest import Turn
from migsim.calibrate.host.slices import PERCENTAGES, WORKING_SETS, SliceTurn, slice_terms
from migsim.calibrate.host.write_faults import FaultTurn, fault_term
from migsim.errors import GuestError, ProfileError
from migsim.models.throttle.cpu_throttle import SLICE_S, run_fraction, sleep_s
from migsim.models.throttle.slices import slice_lost_s

COST = st.floats(1e-8, 1e-5)


def fault_turn(
    guest: int, cost_s: float, *, writes: int = 90_000, first_writes: float = 50_000.0
) -> FaultTurn:
    write_s = 1e-5
    logged = Turn(writes, writes * write_s + first_writes * cost_s, 1.0)
    return FaultTurn(guest, write_s, write_s, logged, first_writes, 20.0)


@given(COST, st.integers(1_000, 10_000_000), st.floats(1_000, 100_000))
def test_the_cost_of_a_first_write_is_what_the_turns_lost(cost_s, writes, first_writes):
    turns = [fault_turn(guest, cost_s, writes=writes, first_writes=first_writes) for guest in range(5)]
    assert fault_term(turns).median == pytest.approx(cost_s, rel=1e-3)


@given(st.lists(st.floats(-1e-5, 1e-5), min_size=2, max_size=20))
def test_a_cost_counts_as_told_only_where_its_interval_lies_above_none(costs):
    term = told_term(costs, "s/page")
    assert term.measured_between is not None
    low, high = term.measured_between
    assert low <= np.median(costs) <= high
    assert (term.median > 0) == (low > 0)
    assert term.median in (0.0, pytest.approx(float(np.median(costs))))


def test_costs_of_one_guest_count_as_one():
    turns = [fault_turn(guest, 1e-6 * guest) for guest in range(1, 6) for _ in range(9)]
    turns += [fault_turn(1, 1e-3)]  # an odd turn of a guest moves its median hardly
    term = fault_term(turns)
    assert term.n == 5
    assert term.median == pytest.approx(3e-6)


def test_one_guest_is_no_interval():
    with pytest.raises(ProfileError, match="1 guests"):
        fault_term([fault_turn(1, 1e-6)])


@given(st.integers(5, 60))
def test_the_interval_of_a_median_covers_it_and_no_narrower_pair_does(count):
    low, high = median_interval(range(count))
    assert low + high == count - 1

    def covered(left_out: int) -> float:
        return 1 - 2 * sum(comb(count, k) for k in range(left_out + 1)) / 2**count

    assert covered(low) >= LEAST_COVERAGE
    assert high - low < 2 or covered(low + 1) < LEAST_COVERAGE


def slice_turns(lost_s, cools_s, repeats=5, noise=None):
    rng = np.random.default_rng(1)
    turns = []
    for guest in range(repeats * len(WORKING_SETS)):
        size = WORKING_SETS[guest % len(WORKING_SETS)]
        for p in PERCENTAGES:
            lost = slice_lost_s(sleep_s(p), lost_s, cools_s) if size > 4096 else 0.0
            lost += noise * rng.standard_normal() if noise else 0.0
            wall_s = 2.0
            seconds = wall_s * run_fraction(p)
            turns.append(
                SliceTurn(
                    guest, size, p, 1e-6, Turn(round(seconds * 1e6 * (1 - lost / SLICE_S)), seconds, wall_s)
                )
            )
    return turns


@given(st.floats(2e-4, 4e-3), st.floats(2e-3, 0.1))
def test_the_law_of_slices_is_found_again(lost_s, cools_s):
    terms = slice_terms(slice_turns(lost_s, cools_s))
    assert terms["slice_lost_s"].median == pytest.approx(lost_s, rel=0.02)
    assert terms["slice_cools_s"].median == pytest.approx(cools_s, rel=0.06)


def test_slices_that_lack_nothing_but_noise_lose_nothing():
    terms = slice_terms(slice_turns(0.0, 0.01, noise=5e-4))
    assert terms["slice_lost_s"].median == terms["slice_cools_s"].median == 0.0
    between = terms["slice_lost_s"].measured_between
    assert between is not None
    low, high = between
    assert low < 0 < high


def test_one_guest_of_slices_is_no_interval():
    with pytest.raises(ProfileError, match="1 guests"):
        slice_terms([turn for turn in slice_turns(1e-3, 0.01) if turn.guest == 1])


def test_what_the_thread_got_of_its_share_does_not_count_as_lacking():
    turn = SliceTurn(0, 4 << 20, 50, 1e-6, Turn(800_000, 0.8, 2.0))
    assert turn.work_fraction == pytest.approx(1.0)
    assert turn.share_kept == pytest.approx(0.8)


def test_a_measurement_that_a_guest_breaks_is_made_again():
    from migsim.calibrate.host.logged_guest import TRIES, retried

    tries = []

    def measure(fails: int) -> int:
        tries.append(1)
        if len(tries) <= fails:
            raise GuestError("The guest switched over.", "It stays.", "Again.")
        return 7

    assert retried(lambda: measure(TRIES - 1)) == 7
    tries.clear()
    with pytest.raises(GuestError):
        retried(lambda: measure(TRIES))
    assert len(tries) == TRIES


def test_both_probes_go_into_the_profile_and_its_table_says_what_is_told(monkeypatch, tmp_path, capsys):
    from migsim.calibrate.host import guest_costs
    from migsim.cli import main
    from migsim.profiles import HostProfile

    def first_writes(qemu, *, repeats, progress):
        progress(0)
        return [fault_turn(guest, 1e-6) for guest in range(repeats)]

    def slices(qemu, *, repeats, progress):
        progress(repeats)
        return slice_turns(0.0, 0.01, repeats=repeats, noise=5e-4)

    monkeypatch.setattr(guest_costs, "measure_write_faults", first_writes)
    monkeypatch.setattr(guest_costs, "measure_slices", slices)
    path = tmp_path / "host.json"
    HostProfile(terms={}, qemu_version="10.0", accel="tcg").save(path)
    with pytest.raises(SystemExit) as left:
        main.run(["calibrate", "guest", str(path), "--repeats", "5"])
    assert not left.value.code
    profile = HostProfile.load(path)
    assert profile.median("dirty_fault_s") == pytest.approx(1e-6)
    assert profile.median("slice_lost_s") == 0.0
    assert profile.provenance["guest-costs"]["command"].startswith("migsim")
    said = capsys.readouterr().out
    assert "dirty_fault_s was measured between" in said
    assert "slice_lost_s was measured between" in said
    assert said.count("not told from none") == 1
