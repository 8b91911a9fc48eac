"""Queries before a guest is traced: its description, its RAM blocks, and whether a migration is under way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migsim.errors import QmpError
from migsim.provenance import Provenance
from migsim.trace import RamBlock, TraceMeta
from migsim.units import PAGE_BYTES

if TYPE_CHECKING:
    from migsim.qmp import QmpSession

__all__ = [
    "IDLE",
    "RamBlockLine",
    "count_resident_pages",
    "describe_guest",
    "is_root",
    "parse_info_ramblock",
    "query_ram_blocks",
    "refuse_while_busy",
    "run_hmp",
]

IDLE = frozenset({"none", "completed", "failed", "cancelled"})
"""States of `query-migrate` in which no migration is under way."""
_BLOCK = re.compile(
    r"^\s*(?P<name>\S.*?)\s+\d+ [KMG]iB\s+0x[0-9a-f]+\s+0x(?P<used>[0-9a-f]+)\s+0x[0-9a-f]+"
    r"(?:\s+0x(?P<hva>[0-9a-f]+))?",
)
_LONGEST_LINE = 1000
_MOST_BYTES = 1 << 52
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) ")


class RamBlockLine(NamedTuple):
    """One line of ``info ramblock``; `host_address` is None where QEMU does not print it (before 8.0)."""

    name: str
    used_bytes: int
    host_address: int | None


def run_hmp(session: QmpSession, line: str) -> str:
    """Run a human monitor command and return its text."""
    return str(session.execute("human-monitor-command", {"command-line": line}))


def parse_info_ramblock(text: str) -> list[RamBlockLine]:
    """Parse ``info ramblock``; it lists the blocks in the order of a migration: largest first.

    Examples
    --------
    >>> parse_info_ramblock("   pc.ram    4 KiB  0x0 0x0000000020000000 0x0000000020000000")
    [RamBlockLine(name='pc.ram', used_bytes=536870912, host_address=None)]
    """
    return [
        RamBlockLine(
            match["name"], int(match["used"], 16), int(match["hva"], 16) if match["hva"] is not None else None
        )
        for line in text.splitlines()
        if len(line) <= _LONGEST_LINE and (match := _BLOCK.match(line))
    ]


def query_ram_blocks(session: QmpSession) -> list[RamBlockLine]:
    """Ask QEMU for the guest's RAM blocks.

    Raises
    ------
    QmpError
        The answer lists no block.
    """
    text = run_hmp(session, "info ramblock")
    lines = parse_info_ramblock(text)
    if not lines or max(line.used_bytes for line in lines) > _MOST_BYTES:
        raise QmpError(
            f"QEMU answered `info ramblock` with {text.strip()[:80]!r}.",
            "The answer lists the guest's RAM blocks, one a line, each of at most 4 PiB.",
            "Check that the socket is a QMP monitor of a QEMU that is built with the human monitor.",
        )
    return lines


def refuse_while_busy(session: QmpSession) -> None:
    """Raise an error while a migration or another dirty-rate measurement of the guest is under way.

    Raises
    ------
    QmpError
        The guest is busy: it and the tracing would disturb each other.
    """
    status = session.execute("query-migrate").get("status", "none")
    if status not in IDLE:
        raise QmpError(
            f"A migration of this guest is under way (query-migrate says {status!r}).",
            "Tracing and migrating use the same dirty log, so each would falsify the other.",
            "Wait until the migration has ended, or cancel it.",
        )
    if session.execute("query-dirty-rate").get("status") == "measuring":
        raise QmpError(
            "Another client is measuring this guest's dirty rate (query-dirty-rate says 'measuring').",
            "QEMU runs one such measurement at a time.",
            "Wait until it has ended; the longest takes 60 s.",
        )


def describe_guest(session: QmpSession, collector: str, command: str = "") -> TraceMeta:
    """Make the meta data of a trace from QEMU's answers about the guest.

    The number of zero pages is estimated from QEMU's resident set where this user may read it; see
    `count_resident_pages`.
    """
    lines = query_ram_blocks(session)
    blocks = RamBlock.stack((line.name, line.used_bytes) for line in lines)
    memory = session.execute("query-memory-size-summary")
    kvm = session.execute("query-kvm")
    total = sum(block.pages for block in blocks)
    resident = count_resident_pages(session.peer_pid, lines)
    return TraceMeta(
        collector=collector,
        qemu_version=str(session.version),
        accel="kvm" if kvm.get("enabled") else "tcg",
        ram_bytes=int(memory["base-memory"]) + int(memory.get("plugged-memory", 0)),
        ram_blocks=blocks,
        vcpus=len(session.execute("query-cpus-fast")),
        zero_pages=None if resident is None else max(total - resident, 0),
        zero_pages_source="" if resident is None else "resident set (upper bound of touched pages)",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        provenance=Provenance.now(command, qemu=str(session.version)).as_dict(),
    )


def count_resident_pages(
    pid: int | None, lines: list[RamBlockLine], proc: Path = Path("/proc")
) -> int | None:
    """Count the resident guest pages of QEMU's process: at least all pages that were ever written.

    A page that was never touched, or only read, is not resident in private memory. A huge page counts with all of
    its pages, and pages that were swapped out count too. Of a block whose address is unknown, all pages count.

    Returns
    -------
    int or None
        Pages of 4 KiB; None where this user may not read the process's mappings, or where most of the guest's RAM
        is not found in them.
    """
    if pid is None or not lines:
        return None
    try:
        mappings = list(_mappings((proc / str(pid) / "smaps").read_text()))
    except (OSError, ValueError):
        return None
    resident, unknown = 0, 0
    for line in lines:
        inside = _resident_bytes(line, mappings)
        if inside is None:
            unknown += line.used_bytes
        resident += line.used_bytes if inside is None else min(inside, line.used_bytes)
    if unknown * 2 > sum(line.used_bytes for line in lines):
        return None
    return resident // PAGE_BYTES


def _mappings(smaps: str) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, resident bytes) of each mapping."""
    start = end = resident = 0
    for row in smaps.splitlines():
        if match := _MAPPING.match(row):
            if end:
                yield start, end, resident
            start, end, resident = int(match[1], 16), int(match[2], 16), 0
        elif row.startswith(("Rss:", "Swap:")):
            resident += int(row.split()[1]) * 1024
    if end:
        yield start, end, resident


def _resident_bytes(line: RamBlockLine, mappings: list[tuple[int, int, int]]) -> int | None:
    """Return how much of a RAM block is resident; None where its mapping is not found."""
    if line.host_address is None:
        # Without an address the block is only found if exactly one mapping has its size.
        same_size = [resident for start, end, resident in mappings if end - start == line.used_bytes]
        return same_size[0] if len(same_size) == 1 else None
    low, high = line.host_address, line.host_address + line.used_bytes
    inside = [resident for start, end, resident in mappings if start < high and end > low]
    return sum(inside) if inside else None


def is_root() -> bool:
    """Say whether this process runs as root, which reading tracefs needs."""
    return os.geteuid() == 0
