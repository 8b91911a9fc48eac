"""Which release tracks dirty pages how."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.models.dirty.bitmap import (
    GIB,
    PAGES_PER_GIB,
    bitmap_layout,
    bitmap_size_bytes,
    bitmap_size_table,
    dirty_words,
    tree_release,
)
from migsim.qapi import QemuVersion

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("version", "bits", "own", "passes", "step"),
    [
        ("1.2", 8, False, 0, "none"),
        ("1.2.50", 8, True, 2, "page"),
        ("1.3", 8, True, 2, "page"),
        ("1.4", 8, True, 1, "page"),
        ("1.7", 8, True, 1, "page"),
        ("2.0", 1, True, 1, "word"),
        ("2.9", 1, True, 1, "word"),
        ("10.2", 1, True, 1, "word"),
    ],
)
def test_the_law_books_table_of_structures(version, bits, own, passes, step):
    layout = bitmap_layout(version)
    assert (layout.qemu_bits_per_page, layout.migration_bitmap, layout.passes, layout.step) == (
        bits,
        own,
        passes,
        step,
    )


@pytest.mark.parametrize(
    ("version", "kernel", "arch", "chunks", "all_set"),
    [
        ("4.0", (6, 1), "x86", False, False),
        ("4.1", (5, 1), "x86", False, False),
        ("4.1", (5, 2), "x86", True, False),
        ("5.0", (6, 1), "x86", True, False),
        ("5.1", (5, 6), "x86", True, False),
        ("5.1", (5, 7), "x86", True, True),
        ("5.1", (5, 7), "arm64", True, False),
        ("5.1", (5, 8), "arm64", True, True),
    ],
)
def test_what_qemu_and_kernel_need_of_each_other(version, kernel, arch, chunks, all_set):
    layout = bitmap_layout(version, kernel=kernel, arch=arch)
    assert (layout.clear_chunks, layout.manual_protect, layout.initially_all_set) == (chunks, chunks, all_set)


@pytest.mark.parametrize(("version", "kernel"), [("6.0", (6, 1)), ("6.1", (5, 10))])
def test_a_ring_that_is_not_there_is_refused(version, kernel):
    with pytest.raises(MigsimError, match=r"dirty-ring-size.*6\.1 and needs Linux 5\.11"):
        bitmap_layout(version, kernel=kernel, dirty_ring=True)


@pytest.mark.parametrize(("version", "kernel"), [("8.0", (6, 3)), ("8.1", (6, 1))])
def test_arm64_got_its_ring_later(version, kernel):
    with pytest.raises(MigsimError, match=r"arm64 came with QEMU 8\.1 and needs Linux 6\.2"):
        bitmap_layout(version, kernel=kernel, arch="arm64", dirty_ring=True)
    assert bitmap_layout("8.1", kernel=(6, 2), arch="arm64", dirty_ring=True).dirty_ring


def test_the_ring_excludes_manual_protect():
    layout = bitmap_layout("10.0", dirty_ring=True)
    assert layout.dirty_ring
    assert not (layout.manual_protect or layout.clear_chunks or layout.initially_all_set)


@pytest.mark.parametrize(
    ("tree", "release"),
    [
        ("1.2", "1.2"),
        ("1.2.2", "1.2"),
        ("1.2.50", "1.3"),
        ("2.12.91", "3.0"),
        ("3.1.50", "4.0"),
        ("4.2.50", "5.0"),
        ("9.1.50", "9.2"),
    ],
)
def test_a_development_tree_is_the_next_release(tree, release):
    assert tree_release(tree) == QemuVersion.parse(release)


def test_the_talks_table_as_a_table():
    table = bitmap_size_table()
    assert (table["bit_bytes"] // KIB).to_dict() == {1: 32, 16: 512, 64: 2048, 256: 8192, 512: 16384}
    assert (table["byte_bytes"] == 8 * table["bit_bytes"]).all()


def test_a_tib_of_ram_has_a_byte_map_of_256_mib():
    assert bitmap_size_bytes(1 << 40, 8) == 256 * MIB


@pytest.mark.parametrize("bad", [{"ram_bytes": -1}, {"page_bytes": 0}])
def test_sizes_that_are_none_are_refused(bad):
    with pytest.raises(MigsimError, match="bytes"):
        bitmap_size_bytes(**({"ram_bytes": GIB, "bits_per_page": 1} | bad))


def words_by_counting(pages, dirty, rng):
    """A slow twin: throw pages and look at every word."""
    held = [False] * (pages // 64)
    for page in rng.sample(range(pages), dirty):
        held[page // 64] = True
    return sum(held)


@given(st.integers(1, 64), st.floats(0, 1), st.integers(0, 999))
def test_words_that_hold_a_dirty_page(words, share, seed):
    """The tolerance is 8.9 deviations of a mean of 50 counts or more: Bernstein's bound is once in 10**11 times."""
    rng = random.Random(seed)  # hypothesis' own would look for an unlucky one
    pages = words * 64
    dirty = round(share * pages)
    expected = dirty_words(pages, dirty)
    # drawn without replacement, so never fewer than the law, and at most one page a word
    assert (
        dirty / 64 - 1e-9 <= dirty_words(pages, dirty, "runs") <= expected + 1e-9 <= min(dirty, words) + 2e-9
    )
    counted = sum(words_by_counting(pages, dirty, rng) for _ in range(50)) / 50
    assert counted == pytest.approx(expected, rel=0.25, abs=1.0)


def test_no_ram_has_no_words():
    assert dirty_words(0, 0) == 0.0
    assert dirty_words(PAGES_PER_GIB, PAGES_PER_GIB) == PAGES_PER_GIB / 64
