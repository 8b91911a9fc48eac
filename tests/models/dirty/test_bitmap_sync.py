import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError
from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB, bitmap_layout
from migsim.models.dirty.sync import LAYOUTS, SyncParts, clear_s, sync_parts, sync_share
from migsim.profiles.published import cost_preset

OLD, NEW = cost_preset("era-2012"), cost_preset("era-2020-x86")


def costs_of(name):
    return (OLD if LAYOUTS[name].qemu_bits_per_page == 8 else NEW).at()


layouts = st.sampled_from(sorted(LAYOUTS))


@given(layouts, st.floats(0.1, 1e4), st.floats(0, 1), st.floats(0, 0.1))
def test_parts_sum_to_the_sync(name, gib, share, base):
    parts = sync_parts(LAYOUTS[name], gib * GIB, share * gib * PAGES_PER_GIB, costs_of(name), base_s=base)
    assert sum(parts.parts_ms().values()) == pytest.approx(parts.total_s * 1000)
    assert parts.mmu_lock_s <= parts.total_s * (1 + 1e-9)
    assert parts.base_s == base


@given(layouts, st.floats(0.1, 1e4), st.floats(0, 0.49))
def test_more_ram_and_more_dirty_pages_never_make_it_shorter(name, gib, share):
    dirty = share * gib * PAGES_PER_GIB
    costs, layout = costs_of(name), LAYOUTS[name]
    one = sync_parts(layout, gib * GIB, dirty, costs).total_s
    assert sync_parts(layout, 2 * gib * GIB, dirty, costs).total_s >= one * (1 - 1e-9)
    assert sync_parts(layout, gib * GIB, 2 * dirty, costs).total_s >= one * (1 - 1e-9)


@given(layouts, st.floats(0.1, 1e4))
def test_a_clean_guests_sync_is_linear_in_its_ram(name, gib):
    one, two = (sync_parts(LAYOUTS[name], g * GIB, 0, costs_of(name)).total_s for g in (gib, 2 * gib))
    assert two == pytest.approx(2 * one)


def sync_by_hand(pages, dirty, passes, word):
    """A slow twin: walks a bitmap page by page or word by word, and adds up what each look costs."""
    kernel, slot, look, hit = 10e-6 / PAGES_PER_GIB, 3e-6 / PAGES_PER_GIB, 7e-9, 11e-9
    seconds = sum(kernel + slot for _ in range(pages))
    if word:
        return seconds + sum(look + (hit if any(dirty[w : w + 64]) else 0.0) for w in range(0, pages, 64))
    for _ in range(passes):
        seconds += sum(look for _ in range(pages))
    return seconds + sum(hit for d in dirty if d)


@given(st.integers(1, 8), st.data())
def test_against_a_walk_of_the_bitmap(words, data):
    pages = words * 64
    run = data.draw(st.integers(0, words))
    dirty = [page < run * 64 for page in range(pages)]
    shared = {"kernel_log_s_per_gib": 10e-6, "protect_s_per_dirty_page": 0.0, "slot_s_per_gib": 3e-6}
    ram, count = pages * 4096, run * 64
    paged = shared | {
        "slot_s_per_dirty_page": 0.0,
        "block_two_passes_s_per_page": 14e-9,
        "block_one_pass_s_per_page": 7e-9,
        "block_s_per_dirty_page": 11e-9,
    }
    for name, passes in (("1.3", 2), ("1.4-1.7", 1)):
        got = sync_parts(LAYOUTS[name], ram, count, paged).total_s
        assert got == pytest.approx(sync_by_hand(pages, dirty, passes, word=False))
    worded = shared | {
        "slot_s_per_word": 0.0,
        "block_s_per_gib": 7e-9 * PAGES_PER_GIB / 64,
        "block_s_per_word": 11e-9,
    }
    got = sync_parts(LAYOUTS["2.0"], ram, count, worded, spread="runs").total_s
    assert got == pytest.approx(sync_by_hand(pages, dirty, 1, word=True))


def test_a_512_gib_guest_of_the_talk_syncs_for_seconds():
    """The law book's 1 to 3 s for two passes (8 to 22 ns a page), and half of 1.3 to 6 s a TiB for one or two."""
    two = [sync_parts(LAYOUTS["1.3"], 512 * GIB, 0, OLD.at(b)).total_s for b in ("low", "high")]
    assert 1.0 < two[0] < two[1] < 3.0
    one = [sync_parts(LAYOUTS["1.4-1.7"], 512 * GIB, 0, OLD.at(b)).total_s for b in ("low", "high")]
    assert 0.65 < one[0] < one[1] < 2.1


def test_one_bit_a_page_is_a_hundred_times_faster():
    ram = 512 * GIB
    byte, bit = (sync_parts(LAYOUTS[name], ram, 0, costs_of(name)).total_s for name in ("1.3", "2.0"))
    assert byte / bit > 100


def test_the_published_256_gib_sync():
    """QEMU after 10.2: kernel 2.5 ms, QEMU to block 5 ms, 12 ms with vhost's 3 ms; 10 GB/s of dirty pages."""
    parts = sync_parts(LAYOUTS["5.1"], 256 * GIB, 256 * PAGES_PER_GIB * 0.1, NEW.at())
    assert parts.log_s == pytest.approx(2.5e-3, rel=0.05)
    assert 3e-3 < parts.total_s < 12e-3


def test_the_kernels_part_by_who_protects():
    dirty = 1e6
    legacy = sync_parts(bitmap_layout("4.0"), 64 * GIB, dirty, NEW.at())
    manual = sync_parts(bitmap_layout("4.1"), 64 * GIB, dirty, NEW.at())
    assert legacy.protect_s == pytest.approx(dirty * NEW.at()["protect_s_per_dirty_page"])
    assert manual.protect_s == 0.0
    assert clear_s(bitmap_layout("4.0"), 64 * GIB, NEW.at()) == 0.0
    assert clear_s(bitmap_layout("4.1"), 64 * GIB, NEW.at()) == pytest.approx(1.5e-3)
    assert clear_s(bitmap_layout("4.1"), GIB / 2, NEW.at()) == pytest.approx(0.75e-3)


def test_reaping_a_ring_goes_by_dirty_pages_not_by_ram():
    small, large = (sync_parts(LAYOUTS["ring"], g * GIB, 5000, NEW.at()) for g in (1, 1024))
    assert small.ring_s == large.ring_s > 0
    assert small.log_s == large.log_s == 0.0
    assert sync_parts(LAYOUTS["ring"], GIB, 10_000, NEW.at()).ring_s == pytest.approx(2 * small.ring_s)


def test_a_ring_waits_for_the_slowest_vcpu_and_a_bitmap_for_none():
    ring, bitmap = (sync_parts(LAYOUTS[k], GIB, 0, NEW.at(), kick_s=1.25) for k in ("ring", "5.1"))
    assert ring.total_s > 1.25 > bitmap.total_s
    assert bitmap.kick_s == 0.0


def test_the_first_release_does_not_copy_into_a_bitmap_of_migrations():
    assert sync_parts(bitmap_layout("1.2"), 512 * GIB, 1e6, OLD.at()).block_s == 0.0


@pytest.mark.parametrize(("ram", "dirty"), [(-1, 0), (GIB, -1), (GIB, PAGES_PER_GIB + 1)])
def test_impossible_syncs_are_refused(ram, dirty):
    with pytest.raises(MigsimError, match="dirty pages"):
        sync_parts(LAYOUTS["2.0"], ram, dirty, NEW.at())


def test_a_cost_that_nobody_published_is_not_zero():
    with pytest.raises(MigsimError, match=r"era-2012.*'slot_s_per_word'.*era-2020-x86"):
        sync_parts(LAYOUTS["2.0"], GIB, 0, OLD.at())


@given(st.floats(0, 10), st.floats(0, 10))
def test_shares_are_shares(sync, rest):
    assert 0 <= sync_share(sync, rest) <= 1
    assert sync_share(sync, rest) + sync_share(rest, sync) == pytest.approx(1 if sync + rest > 0 else 0)


def test_no_part_is_left_out_of_the_sum():
    assert SyncParts(1, 2, 4, 8, 16, 32, 64).total_s == 127
