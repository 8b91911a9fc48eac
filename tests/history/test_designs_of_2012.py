"""Laws of the two designs of 2012, main loop and thread branch, and of the idle guest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.history.idle_guest import BOOTED_PAGES, idle_data_pages, idle_workload
from migsim.history.iothread import call_bandwidth, loop_rate, may_finish, writable_after_s
from migsim.history.thread_branch import branch_threshold_bytes, thread_cycle
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S

GIB, MIB = 1 << 30, 1 << 20
rates = st.floats(1e7, 1e10)


@given(rates, rates, st.floats(0.001, 0.2))
def test_the_thread_branch_combines_harmonically(produce, send, step):
    cycle = thread_cycle(produce, send, produce_s=step)
    assert cycle.bytes_per_s == pytest.approx(1 / (1 / produce + 1 / send))
    assert cycle.lock_duty == pytest.approx(step / (step + cycle.flush_s))
    assert cycle.lock_duty == pytest.approx(send / (produce + send))
    assert cycle.left_bytes_per_s == 0.0


@given(rates, rates, rates)
def test_a_network_never_carries_more_than_it_drains(produce, send, drain):
    cycle = thread_cycle(produce, send, drain_bytes_per_s=drain)
    assert cycle.bytes_per_s <= min(drain, 1 / (1 / produce + 1 / send)) * (1 + 1e-9)
    deep = thread_cycle(produce, send, drain_bytes_per_s=drain, socket_buffer_bytes=1e12)
    assert deep.bytes_per_s == pytest.approx(min(drain, 1 / (1 / produce + 1 / send)))


def test_the_law_books_ceiling_and_duty():
    """0.6..1 and 0.7..1 GB/s: 2.6 to 4 Gbit/s, lock held 40 to 60 % of the time."""
    slow, fast = thread_cycle(0.6e9, 0.7e9), thread_cycle(1e9, 1e9)
    assert slow.bytes_per_s * 8e-9 == pytest.approx(2.6, abs=0.05)
    assert fast.bytes_per_s * 8e-9 == pytest.approx(4.0)
    assert 0.4 < thread_cycle(1e9, 0.7e9).lock_duty < thread_cycle(0.6e9, 1e9).lock_duty < 0.63


@given(rates, rates, st.integers(10 * MIB, 10**10))
def test_a_limit_bounds_what_is_sent_not_what_is_staged(produce, send, limit):
    cycle = thread_cycle(produce, send, max_bandwidth=limit)
    free = thread_cycle(produce, send)
    assert cycle.bytes_per_s <= min(free.bytes_per_s, limit) * (1 + 1e-9)
    assert cycle.left_bytes_per_s >= 0
    if cycle.left_bytes_per_s > 0:
        per_cycle = produce * ITERATE_MAX_S
        whole = cycle.bytes_per_s + cycle.left_bytes_per_s
        assert whole == pytest.approx(per_cycle * cycle.lock_duty / ITERATE_MAX_S)


def test_the_branchs_threshold_is_in_whole_bytes_a_millisecond():
    assert branch_threshold_bytes(123_456_789, 0.1, 2000) == 1_234_567 * 2000
    assert branch_threshold_bytes(99, 0.1, 2000) == 0


@given(rates, rates, st.one_of(st.just(0), st.integers(10 * MIB, 10**10)))
def test_the_main_loop_never_beats_its_step_its_network_or_its_limit(step, drain, limit):
    rate = loop_rate(step, drain, max_bandwidth=limit)
    assert rate.bytes_per_s <= min(step, drain) * (1 + 1e-9)
    assert rate.frozen == (step > drain)
    assert 0 < rate.lock_duty <= 1 + 1e-9
    if limit:
        assert rate.bytes_per_s <= limit
    if not rate.frozen:
        assert rate.bytes_per_s <= step * ITERATE_MAX_S / WINDOW_S * (1 + 1e-9)


def test_a_network_that_keeps_up_is_used_half_the_time():
    assert loop_rate(400e6, 1.177e9).lock_duty == pytest.approx(0.51)
    slow = loop_rate(400e6, 117.7e6)
    assert (slow.bytes_per_s, slow.lock_duty) == (117.7e6, pytest.approx(0.294, abs=0.001))


def test_a_main_loop_that_comes_late_leaves_the_socket_dry():
    """The law book's bound: socket buffer over loop period."""
    rate = loop_rate(400e6, 117.7e6, loop_latency_s=0.05)
    assert rate.bytes_per_s == pytest.approx((4 << 20) / 3 / 0.05)


@given(st.floats(0, 4 * MIB), st.floats(1e6, 1e10))
def test_a_socket_is_writable_once_a_third_is_free(level, drain):
    wait = writable_after_s(level, drain)
    assert level - wait * drain <= 4 * MIB * 2 / 3 + 1e-3
    assert (wait == 0) == (level <= 4 * MIB * 2 / 3)


def test_the_bandwidth_of_one_call_explains_the_half_second_of_2012():
    """32 MiB/s: 3.36 MB in 2 to 4 ms, 25 to 50 MB in 30 ms of it, 0.2 to 0.45 s at 1 GbE."""
    pages = 3.36e6 / 4096
    for call_s, threshold in ((4e-3, 25e6), (2e-3, 50e6)):
        bandwidth = call_bandwidth(pages, 0, call_s)
        assert bandwidth * 0.030 == pytest.approx(threshold, rel=0.02)
        assert may_finish(threshold * 0.9, bandwidth, 30)
        assert not may_finish(threshold * 1.1, bandwidth, 30)
        assert 0.2 < threshold / 117.7e6 < 0.45


def test_uniform_pages_are_a_byte_each():
    assert call_bandwidth(0, 125_000, 0.05) == 2.5e6
    assert call_bandwidth(10, 0, 0.0) == 0.0


@pytest.mark.parametrize("bad", [(0, 1), (1, 0)])
def test_rates_of_nothing_are_refused(bad):
    with pytest.raises(MigsimError, match="above 0"):
        loop_rate(*bad)
    with pytest.raises(MigsimError, match="above 0"):
        thread_cycle(*bad)


@pytest.mark.parametrize(("gib", "normal"), [(16, 147_016), (1024, 4_302_604), (4096, 16_904_683)])
def test_idle_guests_that_were_published(gib, normal):
    """Quintela 2022, clean guests: normal pages of 16G and 1T precopy, 4T multifd."""
    assert idle_data_pages(gib * GIB) == pytest.approx(normal, rel=0.01)


@given(st.integers(1, 1024), st.sampled_from(["top", "spread"]))
def test_the_extents_of_an_idle_guest_hold_all_its_data(gib, place):
    guest = idle_workload(gib * GIB, place=place)
    assert guest.zero_pages + sum(c.pages for c in guest.classes) == gib << 18
    ends = [(first, first + count) for c in guest.classes for first, count in c.extents]
    assert all(a[1] <= b[0] for a, b in zip(sorted(ends), sorted(ends)[1:], strict=False))
    assert max(end for _, end in ends) <= gib << 18
    assert sum(c.pages for c in guest.classes) == BOOTED_PAGES + gib * 4096


def test_a_guest_too_small_for_the_law_is_refused():
    with pytest.raises(MigsimError, match="1 GiB"):
        idle_data_pages(GIB - 1)
