"""Builds the bytes of a migration stream, as QEMU writes them."""

import struct

ZERO, MEM_SIZE, PAGE, EOS, CONTINUE, XBZRLE, COMPRESS, FLUSH = 2, 4, 8, 0x10, 0x20, 0x40, 0x100, 0x200
BLOCKS = (("pc.ram", 600), ("vga.vram", 40), ("/rom@etc/acpi/tables", 2))


def text(name):
    return bytes([len(name)]) + name.encode()


def stream_head(blocks=BLOCKS, footers=True, commands=b"", subsections=b"", setup_end=b""):
    machine = b"pc-i440fx-10.0"
    total = sum(pages for _, pages in blocks) * 4096
    table = b"".join(text(name) + struct.pack(">Q", pages * 4096) for name, pages in blocks)
    return b"".join(
        [
            b"QEVM\0\0\0\3",
            struct.pack(">BI", 7, len(machine)) + machine + subsections,
            commands,
            struct.pack(">BI", 1, 2) + text("ram") + struct.pack(">II", 0, 4),
            struct.pack(">Q", total | MEM_SIZE) + table + setup_end + struct.pack(">Q", EOS),
            struct.pack(">BI", 0x7E, 2) if footers else b"",
        ]
    )


def section(records, kind=2, footers=True):
    """Make a section of records (page kind, block name, page in the block), as QEMU writes it."""
    parts, last = [struct.pack(">BI", kind, 2)], None
    for page_kind, block, page in records:
        flag = {"normal": PAGE, "zero": ZERO, "xbzrle": XBZRLE, "compressed": COMPRESS}[page_kind]
        same = block == last
        parts.append(struct.pack(">Q", page << 12 | flag | (CONTINUE if same else 0)))
        parts.append(b"" if same else text(block))
        parts.append(
            {
                "normal": bytes([1 + page % 255]) * 4095 + bytes([page % 7]),
                "zero": b"\0",
                "xbzrle": b"\1" + struct.pack(">H", 5) + b"abcde",
                "compressed": struct.pack(">I", 3) + b"xyz",
            }[page_kind]
        )
        last = block
    parts.append(struct.pack(">Q", EOS) + (struct.pack(">BI", 0x7E, 2) if footers else b""))
    return b"".join(parts)


def bitmap_section(bitmaps=1, kind=1, chunks=b"", number=9, footer=True):
    """Make the setup's section of dirty bitmaps, with more chunks before its end."""
    head = struct.pack(">BI", kind, number)
    head += text("dirty-bitmap") + struct.pack(">II", 0, 1) if kind == 1 else b""
    starts = b"".join(
        b"\x1c" + text("disk0") + text(f"b{number}") + struct.pack(">IB", 512, 1) for number in range(bitmaps)
    )
    return head + starts + chunks + b"\x01" + (struct.pack(">BI", 0x7E, number) if footer else b"")
