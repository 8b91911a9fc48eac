import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.loop.migration_thread import (
    close_window,
    dirty_pages_rate,
    expected_bytes,
    may_switch_over,
    needs_exact,
)

MIB = 1 << 20
sizes = st.floats(0, 1e12)


def window(sent, seconds=0.1, **given):
    values = {"downtime_limit_ms": 300, "expected_bytes": 0, "dirty_pages_rate": 0} | given
    return close_window(sent, sent / 4104, seconds, **values)


@pytest.mark.parametrize(
    ("bytes_per_s", "tau", "threshold"),
    [(32 * MIB, 30, 1.01e6), (32 * MIB, 300, 10.07e6), (128 * MIB, 300, 40.3e6), (117.7e6, 300, 35.3e6)],
)
def test_the_thresholds_of_the_law_book(bytes_per_s, tau, threshold):
    estimate = window(bytes_per_s / 10, downtime_limit_ms=tau)
    assert estimate.threshold_bytes == pytest.approx(threshold, rel=0.005)
    assert estimate.mbps == pytest.approx(bytes_per_s * 8 / 1e6)


@given(st.floats(1, 1e10), st.floats(0.1, 5), st.floats(1, 2000))
def test_threshold_is_what_the_window_would_send_in_the_limit(sent, seconds, tau):
    estimate = window(sent, seconds, downtime_limit_ms=tau)
    assert estimate.threshold_bytes == pytest.approx(sent * tau / 1000 / seconds)
    assert estimate.pages_per_second == pytest.approx(sent / 4104 / seconds)


@given(st.integers(1, 10**11), st.floats(1, 1e10))
def test_a_users_bandwidth_replaces_the_measured_one(user, sent):
    estimate = window(sent, avail_switchover_bandwidth=user, expected_bytes=1e6, dirty_pages_rate=1)
    assert estimate.threshold_bytes == user // 1000 * 300  # QEMU divides whole numbers
    assert estimate.bandwidth_bytes_per_ms == pytest.approx(sent / 100)
    if sent > 10_000 and user >= 1000:
        assert estimate.expected_downtime_ms == pytest.approx(1e6 / (user // 1000))


@pytest.mark.parametrize(("sent", "rate", "known"), [(10_000, 5, False), (10_001, 5, True), (1e9, 0, False)])
def test_when_expected_downtime_is_refreshed(sent, rate, known):
    estimate = window(sent, expected_bytes=5e6, dirty_pages_rate=rate)
    assert (estimate.expected_downtime_ms is not None) is known
    if known:
        assert estimate.expected_downtime_ms == pytest.approx(5e6 / (sent / 100))


@given(sizes, sizes)
def test_switching_over_needs_less_than_the_threshold(pending, threshold):
    assert may_switch_over(pending, threshold) == (pending == 0 or pending < threshold)
    assert may_switch_over(pending, threshold, inclusive=True) == (pending == 0 or pending <= threshold)
    if may_switch_over(pending, threshold):
        assert may_switch_over(pending, threshold, inclusive=True)
    assert needs_exact(pending, threshold) == (pending < threshold)


def test_the_first_window_cannot_sync_and_ends_only_when_nothing_is_left():
    assert not needs_exact(0, 0)
    assert may_switch_over(0, 0)
    assert not may_switch_over(4096, 0)


def test_a_rate_is_pages_a_second():
    assert dirty_pages_rate(3000, 1.5) == 2000


@pytest.mark.parametrize(
    ("pages_per_s", "rate_mbps", "expected_ms"), [(29_130, 935.559472, 1020), (58_781, 937.663549, 2054)]
)
def test_the_old_expected_downtime_is_a_seconds_new_pages(pages_per_s, rate_mbps, expected_ms):
    """Two samples of `query-migrate` that were published in 2014."""
    sent = rate_mbps * 1e6 / 8 / 10
    estimate = window(
        sent, expected_bytes=expected_bytes(1e6, pages_per_s, True), dirty_pages_rate=pages_per_s
    )
    assert int(estimate.expected_downtime_ms) == expected_ms
    assert expected_bytes(1e6, pages_per_s, False) == 1e6
