"""Decoding the kernel's binary trace buffer; memory slots and measurement lengths of the dirty-ring collector."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.errors import HostError
from migsim.trace import RamBlock
from migsim.tracer.ring.collector import choose_next_window_s, emulates_instructions, read_ring_entries
from migsim.tracer.ring.memory_slots import SlotMap, parse_mtree
from migsim.tracer.ring.tracefs import decode_page, parse_event_format, push_dtype

FORMAT = """name: kvm_dirty_ring_push
ID: 30
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int index;\toffset:8;\tsize:4;\tsigned:1;
\tfield:u32 dirty_index;\toffset:12;\tsize:4;\tsigned:0;
\tfield:u32 reset_index;\toffset:16;\tsize:4;\tsigned:0;
\tfield:u32 slot;\toffset:20;\tsize:4;\tsigned:0;
\tfield:u64 offset;\toffset:24;\tsize:8;\tsigned:0;

print fmt: "ring %d", REC->index
"""
PUSH_ID, FIELDS = parse_event_format(FORMAT)
PUSH = push_dtype(FIELDS)
RESET_ID = 29


def head(kind, delta):
    return struct.pack("<I", delta << 5 | kind)


def push(delta, slot, offset, vcpu=0, event=PUSH_ID):
    return head(8, delta) + struct.pack("<HBBiiIIIQ", event, 0, 0, 77, vcpu, 1, 0, slot, offset)


def reset(delta):
    return head(5, delta) + struct.pack("<HBBiiII", RESET_ID, 0, 0, 77, 0, 1, 1)


def page(start_ns, *events, flags=0):
    data = b"".join(events)
    return (struct.pack("<QQ", start_ns, len(data) | flags) + data).ljust(4096, b"\0")


def decode(raw):
    return decode_page(raw, PUSH_ID, PUSH, RESET_ID)


def test_layout():
    assert PUSH_ID == 30
    assert FIELDS["offset"] == (24, 8)
    assert PUSH.itemsize == 36
    with pytest.raises(HostError):
        parse_event_format("nothing")


def test_times_add_up_over_every_kind_of_record():
    raw = page(
        1000,
        push(0, 5, 11),
        push(10, 5, 12, vcpu=3),
        reset(5),
        head(30, 7) + struct.pack("<I", 2),
        push(1, 6, 13),
        push(1, 6, 99, event=31),  # another event of the same length
        head(29, 4) + struct.pack("<I", 8) + bytes(4),
        head(0, 2) + struct.pack("<I", 8) + struct.pack("<HH", 40, 0),
        push(3, 6, 14),
        flags=1 << 31,
    )
    records, times, resets = decode(raw)
    assert records["offset"].tolist() == [11, 12, 13, 14]
    assert records["slot"].tolist() == [5, 5, 6, 6]
    assert records["index"].tolist() == [0, 3, 0, 0]
    extended = 1015 + 7 + (2 << 27)
    assert times.tolist() == [1000, 1010, extended + 1, extended + 2 + 4 + 2 + 3]
    assert resets == [1015]


def test_an_absolute_time_stamp():
    stamp = (12345 << 27) | 678
    _, times, _ = decode(page(5, head(31, 678) + struct.pack("<I", 12345), push(2, 1, 1)))
    assert times.tolist() == [stamp + 2]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 27) - 1), st.integers(0, 9), st.integers(0, 1 << 40)), max_size=100
    )
)
def test_any_run_of_pushes(events):
    records, times, _ = decode(page(9, *(push(*event) for event in events)))
    assert records["offset"].tolist() == [offset for _, _, offset in events]
    assert times.tolist() == (9 + np.cumsum([delta for delta, _, _ in events])).astype(int).tolist()


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_without_an_error(raw):
    decode(raw)


MTREE = """\
FlatView #0
 AS "memory", root: system
  0000000000000000-00000000000c2fff (prio 0, ram): pc.ram KVM
  00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000 KVM
  0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000 KVM
  00000000fec00000-00000000fec00fff (prio 0, i/o): kvm-ioapic
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios KVM
  0000000100000000-00000001bfffffff (prio 0, ram): pc.ram @00000000c0000000 KVM
FlatView #1
  0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000 KVM
"""
BLOCKS = RamBlock.stack([("other", 1 << 20), ("pc.ram", 6 << 30)])


def slots():
    return SlotMap(parse_mtree(MTREE), BLOCKS)


def pages(slot_map, *pairs):
    array = np.array(pairs, dtype=np.int64)
    return slot_map.page_numbers(array[:, 0], array[:, 1]).tolist()


def test_mtree_pieces():
    assert [(r.guest_page, r.pages) for r in parse_mtree(MTREE)] == [
        (0, 0xC3),
        (0x100, 0xBFF00),
        (0x100000, 0xC0000),
    ]


def test_slots_above_and_below_four_gib():
    slot_map = slots()
    found = pages(slot_map, (5, 7), (1, 7), (5, 0xBFEFF))
    assert found == [256 + 0x100 + 7, 256 + 0xC0000 + 7, 256 + 0x100 + 0xBFEFF]
    assert "slot 5 = pc.ram at guest page 0x100" in str(slot_map)


def test_a_slot_that_fits_nothing_is_an_error():
    with pytest.raises(HostError, match="slot 9"):
        pages(slots(), (9, 1 << 30))
    slot_map = slots()
    pages(slot_map, (5, 7))
    with pytest.raises(HostError, match="slot 5"):
        pages(slot_map, (5, 0xBFF00))


def test_ring_size_from_the_command_line(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(b"qemu\0-accel\0kvm,dirty-ring-size=4096\0-m\x001G\0")
    assert read_ring_entries(7, tmp_path) == 4096
    (tmp_path / "7" / "cmdline").write_bytes(b"qemu\0-accel\0kvm\0")
    assert read_ring_entries(7, tmp_path) == 0
    assert read_ring_entries(8, tmp_path) is None


def test_hardware_virtualisation_is_read_from_the_cpu_flags(tmp_path):
    (tmp_path / "with").write_text("flags\t\t: fpu svm sse\n")
    (tmp_path / "without").write_text("flags\t\t: fpu svme sse\n")
    assert not emulates_instructions(tmp_path / "with")
    assert emulates_instructions(tmp_path / "without") or __import__("platform").machine() != "x86_64"


@given(st.floats(0.05, 5), st.integers(0, 10**7), st.sampled_from([32768, 65536]))
def test_a_ring_never_fills_at_the_last_rate_of_pushes(last, pushes, entries):
    window = choose_next_window_s(last, pushes, entries)
    assert window <= max(2 * last, 0.05)
    assert window == 0.05 or pushes / last * window <= entries / 3
