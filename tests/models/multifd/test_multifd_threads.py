"""What multifd's threads reach on shared processors, against a scheduler that shares them out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.multifd.threads import PageWork, guest_share, multifd_page_s

COSTS = st.floats(1e-8, 2e-5)


def shared_out(wanted, cpus):
    """The slow twin: give all threads the same, at most a processor and what each wants, until none is left."""
    got = [0.0] * len(wanted)
    open_threads = set(range(len(wanted)))
    left = cpus
    while open_threads and left > 1e-12:
        part = left / len(open_threads)
        least = min(min(wanted[k], 1.0) - got[k] for k in open_threads)
        step = min(part, least)
        for k in open_threads:
            got[k] += step
        left -= step * len(open_threads)
        open_threads = {k for k in open_threads if got[k] < min(wanted[k], 1.0) - 1e-12}
        if step < 1e-15 and open_threads:
            break
    return got


def fastest(work, channels, cpus, vcpus, spins):
    """Pages a second that all of multifd's threads can keep up with, by halving; and the guest's share then.

    A channel's two ends never run at once: they are one thread here. Out of its part of a processor each has to do its
    work in the time that its waits leave.
    """
    low, high = 0.0, 1e9
    for _ in range(80):
        rate = (low + high) / 2
        ends = (work.send_s + work.receive_s) * rate / channels
        main = 1.0 if spins else work.queue_s * rate
        got = shared_out([1.0] * vcpus + [main] + [ends] * channels, cpus)
        fair = max(got)  # what one gets that wants all
        if not (vcpus or spins) and sum(got) < cpus - 1e-9:
            fair = 1.0
        met = all(g >= ends - 1e-9 for g in got[vcpus + 1 :]) and got[vcpus] >= work.queue_s * rate - 1e-9
        met = met and (work.send_s + work.receive_s) / fair + work.channel_wait_s <= channels / rate
        met = met and work.queue_s / fair + work.queue_wait_s <= 1 / rate
        low, high = (rate, high) if met else (low, rate)
    return low, got[0] if vcpus else 1.0


@given(COSTS, COSTS, COSTS, st.integers(1, 8), st.integers(1, 16), st.integers(0, 4), st.booleans())
def test_the_law_is_what_a_fair_scheduler_gives(q, s, r, channels, cpus, vcpus, spins):
    work = PageWork(q, s, r)
    rate, share = fastest(work, channels, cpus, vcpus, spins)
    page_s = float(multifd_page_s(work, channels, cpus=cpus, busy_vcpus=vcpus, spins=spins))
    assert 1 / page_s == pytest.approx(rate, rel=1e-5)
    if vcpus:
        law = float(guest_share(work, page_s, cpus=cpus, busy_vcpus=vcpus, spins=spins))
        assert law == pytest.approx(share, abs=1e-4)


@given(
    COSTS,
    COSTS,
    COSTS,
    st.floats(0, 1e-5),
    st.floats(0, 1e-5),
    st.integers(1, 8),
    st.integers(1, 16),
    st.integers(1, 4),
)
def test_waits_are_no_work(q, s, r, queue_wait, channel_wait, channels, cpus, vcpus):
    work = PageWork(q, s, r, queue_wait_s=queue_wait, channel_wait_s=channel_wait)
    rate, share = fastest(work, channels, cpus, vcpus, False)
    page_s = float(multifd_page_s(work, channels, cpus=cpus, busy_vcpus=vcpus))
    assert 1 / page_s == pytest.approx(rate, rel=1e-4)
    assert float(guest_share(work, page_s, cpus=cpus, busy_vcpus=vcpus)) == pytest.approx(share, abs=1e-3)


def test_with_processors_plenty_channels_add_up_until_the_migration_thread_is_full():
    work = PageWork(0.2e-6, 1e-6, 2e-6)
    page_s = multifd_page_s(work, [1, 2, 4, 8, 16, 32], cpus=128, busy_vcpus=4)
    np.testing.assert_allclose(page_s, [3e-6, 1.5e-6, 0.75e-6, 0.375e-6, 0.2e-6, 0.2e-6])


def test_on_one_processor_work_adds_up_and_the_guest_takes_its_part():
    work = PageWork(1e-6, 2e-6, 3e-6)
    assert float(multifd_page_s(work, 1, cpus=1, busy_vcpus=0)) == pytest.approx(6e-6)
    assert float(multifd_page_s(work, 1, cpus=1, busy_vcpus=1)) == pytest.approx(11e-6)
    assert float(guest_share(work, 11e-6, cpus=1, busy_vcpus=1)) == pytest.approx(5 / 11)


def test_a_slow_link_leaves_the_guest_alone():
    work = PageWork(1e-7, 1e-6, 1e-6)
    page_s = multifd_page_s(work, 4, cpus=2, busy_vcpus=1, link_page_s=3.5e-5)
    assert float(page_s) == pytest.approx(3.5e-5)
    assert float(guest_share(work, page_s, cpus=2, busy_vcpus=1)) == 1.0


@given(COSTS, COSTS, COSTS, st.integers(1, 16), st.floats(1, 64), st.floats(0, 8))
def test_more_channels_or_processors_never_slow_it_down(q, s, r, channels, cpus, vcpus):
    work = PageWork(q, s, r)
    one = float(multifd_page_s(work, channels, cpus=cpus, busy_vcpus=vcpus))
    assert float(multifd_page_s(work, channels + 1, cpus=cpus, busy_vcpus=vcpus)) <= one * (1 + 1e-12)
    assert float(multifd_page_s(work, channels, cpus=cpus + 1, busy_vcpus=vcpus)) <= one * (1 + 1e-12)


def test_arrays_of_scenarios_go_through_at_once():
    work = PageWork(np.array([1e-7, 2e-7]), np.array([1e-6, 1e-6]), np.array([9e-6, 2e-6]))
    page_s = multifd_page_s(work, np.array([2, 4]), cpus=2, busy_vcpus=1, spins=np.array([False, True]))
    each = [
        float(multifd_page_s(PageWork(1e-7, 1e-6, 9e-6), 2, cpus=2, busy_vcpus=1)),
        float(multifd_page_s(PageWork(2e-7, 1e-6, 2e-6), 4, cpus=2, busy_vcpus=1, spins=True)),
    ]
    np.testing.assert_allclose(page_s, each)
