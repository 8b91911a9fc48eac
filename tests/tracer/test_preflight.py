from migsim.tracer.preflight import count_resident_pages, parse_info_ramblock

BEFORE_8_0 = """\
              Block Name    PSize              Offset               Used              Total
                  pc.ram    4 KiB  0x0000000000000000 0x0000000020000000 0x0000000020000000
    /rom@etc/acpi/tables    4 KiB  0x0000000020080000 0x0000000000020000 0x0000000000200000
 0000:00:02.0/my dev.ram    2 MiB  0x0000000020000000 0x0000000000040000 0x0000000000040000
"""
SINCE_8_0 = """\
              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x0000000000010000 0x0000000000010000 0x0000000000100000  rw
                 pc.bios    4 KiB  0x0000000180000000 0x0000000000004000 0x0000000000004000 0x0000000000200000  ro
"""
SMAPS = """\
00100000-00108000 rw-p 00000000 00:00 0
Size:                 32 kB
Rss:                  12 kB
Swap:                  4 kB
00108000-00110000 rw-p 00000000 00:00 0
Rss:                   8 kB
00200000-00204000 r--p 00000000 00:00 0
Rss:                  64 kB
"""


def test_both_layouts_of_info_ramblock_are_parsed():
    blocks = parse_info_ramblock(BEFORE_8_0)
    assert [(b.name, b.used_bytes, b.host_address) for b in blocks] == [
        ("pc.ram", 1 << 29, None),
        ("/rom@etc/acpi/tables", 0x20000, None),
        ("0000:00:02.0/my dev.ram", 0x40000, None),
    ]
    assert [b.host_address for b in parse_info_ramblock(SINCE_8_0)] == [0x100000, 0x200000]
    assert parse_info_ramblock("unknown command: 'info ramblock'") == []


def proc(tmp_path, smaps=SMAPS):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps").write_text(smaps)
    return tmp_path


def test_resident_pages_by_address_over_split_mappings(tmp_path):
    # pc.ram: 3 resident and 1 swapped out, then 2 resident; pc.bios counts with at most its 4 pages
    assert count_resident_pages(7, parse_info_ramblock(SINCE_8_0), proc(tmp_path)) == 6 + 4


def test_resident_pages_by_size_where_qemu_gives_no_address(tmp_path):
    smaps = f"{0x10000000:x}-{0x30000000:x} rw-p 0 00:00 0\nRss: 4096 kB\n"
    lines = parse_info_ramblock(BEFORE_8_0)
    assert count_resident_pages(7, lines, proc(tmp_path, smaps)) == 1024 + 32 + 64


def test_resident_pages_are_unknown_without_process_mappings_or_ram_in_them(tmp_path):
    assert count_resident_pages(None, parse_info_ramblock(SINCE_8_0)) is None
    assert count_resident_pages(7, parse_info_ramblock(SINCE_8_0), tmp_path) is None
    assert count_resident_pages(7, parse_info_ramblock(BEFORE_8_0), proc(tmp_path)) is None
