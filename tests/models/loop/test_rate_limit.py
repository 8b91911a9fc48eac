import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.models.loop.page_stream import (
    BATCH_BYTES,
    ITERATE_BYTES,
    NORMAL_PAGE_BYTES,
    SECTION_BYTES,
    ZERO_PAGE_BYTES,
    ram_bytes_of,
)
from migsim.models.loop.rate_limit import ITERATE_MAX_S, WINDOW_S, wake_up_s, window_bytes, window_quota_bytes


def test_the_windows_never_changed():
    assert WINDOW_S == 0.1
    assert 0.050 <= ITERATE_MAX_S <= 0.051


@given(st.integers(1, 10**12))
def test_a_quota_is_a_tenth_in_whole_bytes(limit):
    assert window_quota_bytes(limit) == limit // 10


def test_no_limit():
    assert window_quota_bytes(0) == float("inf")
    assert window_bytes(float("inf"), NORMAL_PAGE_BYTES, "flush") == float("inf")


@given(st.integers(1, 10**11), st.sampled_from([NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES]))
def test_enqueue_overshoots_by_one_record(quota, record):
    """Sending stops at the first record that finds more than the quota used."""
    used = window_bytes(float(quota), record, "enqueue")
    assert used % record == 0
    assert quota < used <= quota + record


@given(st.integers(1, 10**11))
def test_flush_overshoots_by_at_most_a_batch(quota):
    used = window_bytes(float(quota), NORMAL_PAGE_BYTES, "flush")
    assert used % BATCH_BYTES == 0
    assert quota < used <= quota + BATCH_BYTES


def test_a_batch_is_32_pages_of_one_writev():
    assert BATCH_BYTES == 131328


def test_bytes_of_a_run_measured_to_the_byte():
    """51 normal and 32847 zero pages were 505019 bytes in a live 7.2 run, 92 of them block names."""
    assert ram_bytes_of(51, 32847) == 505019 - 92
    assert (NORMAL_PAGE_BYTES, ZERO_PAGE_BYTES) == (4104, 9)


def test_of_an_iterate_calls_18_bytes_qemu_counts_the_end_mark_as_ram():
    assert (ITERATE_BYTES, SECTION_BYTES) == (8, 5 + 5)
    assert ram_bytes_of(0, 0, 3) == 24
    assert ram_bytes_of(2, 5, 1) == 2 * 4104 + 5 * 9 + 8


@given(st.integers(0, 10**11), st.floats(0, 1), st.floats(0, 1))
def test_windows_end_later_the_higher_the_limit(limit, base, slope):
    late = wake_up_s(limit, window_overhead_s=base, window_overhead_s_per_gib_per_s=slope)
    assert late == pytest.approx(base + slope * limit / 2**30)
    assert wake_up_s(0, window_overhead_s=base, window_overhead_s_per_gib_per_s=slope) == base
