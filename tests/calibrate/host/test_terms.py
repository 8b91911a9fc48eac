"""Terms read from simulated probes are those that the probes were simulated with."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.calibrate.host import terms
from migsim.calibrate.host.probes import COLD, DATA, EMPTY, FAULTS, RESEND, RING, XBZRLE
from tests.calibrate.host.simulated_probes import TERMS, WRITES_PER_S, guest_log, known

HOT = "probe-hot-1g"
MS = 1e-3  # QEMU's own times are whole milliseconds


def without(run, **changes):
    return replace(run, **changes)


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize(
    ("term", "probe", "read"),
    [
        ("normal_page_s", RESEND, terms.resent_page_s),
        ("burst_page_s", HOT, terms.burst_page_s),
        ("burst_fresh_page_s", DATA, terms.burst_page_s),
        ("burst_cold_page_s", COLD, terms.burst_page_s),
        ("dirty_fault_s", FAULTS, terms.dirty_fault_s),
    ],
)
def test_page_costs_are_found_again(version, term, probe, read):
    assert read(known(probe, version)) == pytest.approx(TERMS[term], rel=0.04)


def test_scan_and_first_sending_are_told_apart():
    zero, fresh = terms.page_cost_s([known(EMPTY), known(DATA), known(EMPTY)])
    assert zero == pytest.approx([TERMS["zero_page_s"]] * 2, rel=0.02)
    assert fresh == pytest.approx([TERMS["fresh_page_s"]], rel=0.02)


def test_pages_in_no_cache_are_told_from_those_that_need_memory():
    run = known(COLD)
    assert terms.cold_page_s(run) == pytest.approx(TERMS["cold_page_s"], rel=0.02)
    # Taking them all for cold spreads the destination's faults over every page.
    mixed = terms.active_seconds(run) / run.info["ram"]["normal"]
    assert mixed > 1.03 * TERMS["cold_page_s"]


def test_entries_of_a_ring_are_counted_by_its_peak_rate():
    assert terms.ring_entries_per_write(known(RING)) == pytest.approx(
        TERMS["ring_entries_per_write"], rel=0.02
    )


def test_what_xbzrle_costs_is_found_again():
    pages_s = terms.xbzrle_pages_s(known(XBZRLE))
    assert pages_s is not None
    found, missed = pages_s
    assert found == pytest.approx(TERMS["xbzrle_hit_s"], rel=0.04)
    assert missed - TERMS["normal_page_s"] == pytest.approx(TERMS["xbzrle_miss_s"], rel=0.1)


@pytest.mark.parametrize("name", [HOT, DATA, EMPTY, "probe-empty-1g"])
def test_the_connection_is_what_comes_before_setup(name):
    assert terms.connect_s(known(name)) == pytest.approx(TERMS["connect_s"], abs=1.01 * MS)


@pytest.mark.parametrize(("probe", "gib_per_s"), [(HOT, 250e6 / 2**30), (FAULTS, 62.5e6 / 2**30)])
@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_late_wake_ups_show_in_the_windows_rates(probe, gib_per_s, version):
    late = TERMS["window_overhead_s"] + TERMS["window_overhead_s_per_gib_per_s"] * gib_per_s
    assert terms.window_overhead_s(known(probe, version)) == pytest.approx(late, abs=5e-5)


def test_the_guests_speed_is_its_writes_before_the_migration():
    assert terms.guest_speed(known(HOT)) == pytest.approx(WRITES_PER_S)
    assert terms.guest_speed(known(FAULTS)) == pytest.approx(WRITES_PER_S)  # not what the faults left of it
    assert terms.guest_speed(without(known(HOT), guest_log=[])) is None


def test_the_device_state_is_what_is_no_page():
    """Counted from 8.2 on; sections and the rounding to whole pages are in it."""
    assert terms.device_state_bytes(known(DATA)) == pytest.approx(TERMS["device_state_bytes"], abs=4000)
    assert terms.device_state_bytes(known(DATA, "7.2")) < 4000


def test_active_time_is_what_the_pages_took():
    run = known(DATA)
    pages = run.info["ram"]["normal"] - run.info["ram"]["downtime-bytes"] / 4104
    spent = pages * TERMS["fresh_page_s"]  # zero pages lie last and are left for the blackout
    assert terms.active_seconds(run) == pytest.approx(spent, abs=0.02)


# What a record does not show


def test_a_record_that_shows_nothing_gives_none():
    run = known(HOT)
    assert terms.burst_page_s(without(run, downtime_parts_ms={})) is None
    few = without(run, info={**run.info, "ram": {**run.info["ram"], "downtime-bytes": 399 * 4104}})
    assert terms.burst_page_s(few) is None
    assert terms.window_overhead_s(without(run, timeline=run.timeline.iloc[:4])) is None
    assert terms.resent_page_s(known("probe-empty-1g")) is None  # no round sends 500 pages again
    faults = known(FAULTS)
    assert terms.dirty_fault_s(without(faults, guest_log=[])) is None
    assert terms.dirty_fault_s(without(faults, guest_log=faults.guest_log[:2])) is None
    assert terms.dirty_fault_s(without(faults, iterations=faults.iterations.iloc[:3])) is None


def test_lines_of_the_destination_and_other_words_do_not_count():
    run = known(FAULTS)
    other = [{"side": "destination", "line": row["line"]} for row in run.guest_log]
    noise = [{"side": "source", "line": "SeaBIOS"}]
    read = terms.dirty_fault_s(without(run, guest_log=[*noise, *run.guest_log, *other]))
    assert read == terms.dirty_fault_s(run)


def test_noise_may_put_a_fault_below_zero():
    """A guest that got faster shows less than nothing; the fit of the median says what that means."""
    run = known(FAULTS)
    faster = guest_log(run, run.scenario["settle-s"], -TERMS["dirty_fault_s"])
    read = terms.dirty_fault_s(without(run, guest_log=faster))
    assert read == pytest.approx(-TERMS["dirty_fault_s"], rel=0.04)


def test_windows_that_carried_less_are_left_out():
    run = known(HOT)
    slow = run.timeline.copy()
    slow.loc[slow.index[3], "ram.mbps"] *= 0.6
    slow.loc[slow.index[4], "ram.mbps"] *= 1.3
    read = terms.window_overhead_s(without(run, timeline=slow))
    assert read == pytest.approx(terms.window_overhead_s(run), rel=0.02)


# Lines

positive = st.floats(1e-6, 10)


@settings(deadline=None)
@given(positive, positive, st.lists(st.floats(0.1, 100), min_size=3, max_size=8, unique=True))
def test_a_line_is_found_exactly(base, slope, x):
    x = np.sort(x)
    y = base + slope * x
    found_base, found_slope, spread = terms.fit_line(x, y)
    assert found_base + found_slope * x == pytest.approx(y, rel=1e-6)
    assert spread < 1e-6


def test_neither_part_of_a_line_is_negative():
    assert terms.fit_line([1, 2, 3], [3, 2, 1])[1] == 0
    base, slope, spread = terms.fit_line([1, 2, 3], [0.1, 2.0, 4.2])
    assert base == 0 and slope > 0
    assert spread > 0


def test_errors_of_a_small_and_of_a_large_guest_count_alike():
    exact = np.array([1.01, 1.01, 1.64, 1.64])
    base, slope, _ = terms.fit_line([1, 1, 64, 64], exact * [1.1, 0.9, 1.1, 0.9])
    assert base + slope * np.array([1, 64]) == pytest.approx([1.0, 1.62], rel=0.02)
