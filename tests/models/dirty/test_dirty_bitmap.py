import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.models.dirty.bitmap import GIB, bitmap_size_bytes, setup_s, sync_s

KIB = 1024


@pytest.mark.parametrize(
    ("gib", "one_bit", "one_byte"),
    [(1, 32, 256), (16, 512, 4096), (64, 2048, 16384), (256, 8192, 65536), (512, 16384, 131072)],
)
def test_the_talks_table_of_bitmap_sizes(gib, one_bit, one_byte):
    assert bitmap_size_bytes(gib * GIB, 1) == one_bit * KIB
    assert bitmap_size_bytes(gib * GIB, 8) == one_byte * KIB


@given(st.integers(1, 1 << 44), st.sampled_from([1, 8]))
def test_every_page_has_its_place(ram, bits):
    pages = -(-ram // 4096)
    size = bitmap_size_bytes(ram, bits)
    assert pages * bits <= size * 8 < pages * bits + 8


@pytest.mark.parametrize("bits", [0, 2, 16])
def test_other_widths_are_refused(bits):
    with pytest.raises(MigsimError, match="bits_per_page"):
        bitmap_size_bytes(GIB, bits)


positive = st.floats(0, 1)


@given(positive, positive, st.floats(0, 1e3))
def test_a_sync_is_the_sum_of_its_terms(base, slope, gib):
    got = sync_s(gib * GIB, sync_base_s=base, sync_s_per_gib=slope * 1e-3)
    assert got == pytest.approx(base + slope * 1e-3 * gib)


def test_a_large_guests_sync_as_published():
    """256 GiB at 10 GB/s: 12 ms published, with the scan at tens of microseconds a GiB."""
    assert 0.003 < sync_s(256 * GIB, sync_base_s=0, sync_s_per_gib=20e-6) < 0.024


def test_setup_grows_with_ram():
    """128 GiB of 4 KiB mappings: 460 ms published, 3.6 ms a GiB."""
    assert setup_s(128 * GIB, setup_base_s=0, setup_s_per_gib=3.6e-3) == pytest.approx(0.4608)
    assert setup_s(0, setup_base_s=0.002, setup_s_per_gib=1) == 0.002
