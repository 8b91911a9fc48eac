"""The meta data of a trace, `meta.json`: its fields, reading and writing them."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from migsim.errors import TraceError, near_misses
from migsim.reading import parse_json
from migsim.trace.data_map import DataMap
from migsim.units import PAGE_BYTES

__all__ = ["COLLECTORS", "LARGEST_RAM", "TRACE_FORMAT", "TRACE_VERSION", "RamBlock", "TraceMeta"]

TRACE_FORMAT = "migsim-trace"
TRACE_VERSION = 2
"""Version of a trace with a data map; one without is of version 1, as all were before, and is written as such."""
COLLECTORS = ("dirty-rate", "stream", "dirty-ring")
LARGEST_RAM = 1 << 46
"""Bytes of the largest guest that a trace may be of: 64 TiB."""
_ACCELS = ("kvm", "tcg", "")
_PAGE_SIZES = tuple(1 << shift for shift in range(10, 22))
_MOST_VCPUS = 1 << 16
_LONGEST_S = 1e9  # 30 years


@dataclass(frozen=True, slots=True)
class RamBlock:
    """One of QEMU's RAM blocks, and its place in the trace's global page numbers.

    Parameters
    ----------
    name : str
        QEMU's idstr, e.g. ``pc.ram``.
    first_page : int
        Global number of the block's page 0.
    pages : int
        Length in target pages.

    Examples
    --------
    >>> RamBlock.stack([("pc.ram", 1 << 30), ("vga.vram", 16 << 20)])[1].first_page
    262144
    """

    name: str
    first_page: int
    pages: int

    @staticmethod
    def stack(blocks: typing.Iterable[tuple[str, int]], page_bytes: int = PAGE_BYTES) -> tuple[RamBlock, ...]:
        """Make blocks from (name, bytes) pairs; page numbers run through all blocks in the given order."""
        stacked, first = [], 0
        for name, size in blocks:
            pages = -(-size // page_bytes)
            stacked.append(RamBlock(name, first, pages))
            first += pages
        return tuple(stacked)


@dataclass(frozen=True, slots=True)
class TraceMeta:
    """Who recorded what, where and for how long.

    Attributes
    ----------
    collector : str
        ``dirty-rate``, ``stream`` or ``dirty-ring``.
    qemu_version, accel : str
        For example ``10.0.8``; ``kvm``, ``tcg`` or "" where unknown.
    ram_bytes : int
        The guest's RAM, as given by QEMU's ``-m``.
    ram_blocks : tuple of RamBlock
        Every migrated block, largest first; page numbers run through them in this order.
    vcpus, page_bytes : int
    zero_pages : int or None
        Number of pages that hold only zeros; None where unknown. `zero_pages_source` says how it was found.
    data_map : DataMap or None
        Where the other pages lie; None where unknown.
    started : str
        When the recording began: ISO time, UTC.
    duration_s : float
    complete : bool
        False where the recording was cut short; `note` says why.
    guest : dict
        The guest's declared workload, where it is known; any keys.
    provenance : dict
        Who made the file; any keys.
    self_check : dict
        What the collector found about its own effect on the guest; any keys.
    command : str
        The command that recorded the trace.
    lost_events : int
        Dirty-ring events that the kernel dropped.
    """

    collector: str
    qemu_version: str
    ram_bytes: int
    accel: str = ""
    ram_blocks: tuple[RamBlock, ...] = ()
    vcpus: int = 1
    page_bytes: int = PAGE_BYTES
    zero_pages: int | None = None
    zero_pages_source: str = ""
    data_map: DataMap | None = None
    started: str = ""
    duration_s: float = 0.0
    complete: bool = False
    note: str = ""
    guest: dict[str, Any] = field(default_factory=dict)
    self_check: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    lost_events: int = 0
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def total_pages(self) -> int:
        """Number of pages of all blocks; where the blocks are unknown, of `ram_bytes`."""
        return sum(block.pages for block in self.ram_blocks) or self.ram_bytes // self.page_bytes

    def to_json(self) -> str:
        """Return the text of ``meta.json``."""
        fields_ = asdict(self)
        version = TRACE_VERSION
        if self.data_map is None:
            del fields_["data_map"]
            version = 1
        return json.dumps(
            {"format": TRACE_FORMAT, "version": version, **fields_}, indent=1, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "meta.json") -> TraceMeta:
        """Read ``meta.json``.

        Raises
        ------
        TraceError
            The text is not JSON, not a trace's meta data, of a newer version, or has a field of the wrong type
            or with a value that no guest has.
        """
        data = parse_json(text, f"{where}: meta.json", TraceError)
        if not isinstance(data, dict) or data.get("format") != TRACE_FORMAT:
            raise _unreadable(where, "it is not a migsim trace")
        if data.get("version") not in (1, TRACE_VERSION) or isinstance(data.get("version"), bool):
            raise TraceError(
                f"{where} has version {data.get('version')!r} of the trace format.",
                f"This migsim reads versions 1 and {TRACE_VERSION}.",
                "Read it with the migsim that recorded it.",
            )
        values = {name: value for name, value in data.items() if name not in ("format", "version")}
        meta = cls(**_check_fields(_move_self_check(values), where))
        _check_claims(meta, where)
        return meta


def _move_self_check(values: dict[str, Any]) -> dict[str, Any]:
    """Move the self-check out of `guest`, where the first traces kept it.

    `guest` is compared with the guest of a scenario, so it must hold nothing else.
    """
    guest = values.get("guest")
    if not isinstance(guest, dict) or "self_check" not in guest:
        return values
    rest = {name: value for name, value in guest.items() if name != "self_check"}
    return {**values, "guest": rest, "self_check": values.get("self_check") or guest["self_check"]}


def _check_fields(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `TraceMeta`; refuse missing fields, unknown fields and wrong types."""
    hints = typing.get_type_hints(TraceMeta)
    missing = {"collector", "qemu_version", "ram_bytes"} - values.keys()
    if missing:
        raise _unreadable(where, f"meta.json lacks {', '.join(sorted(missing))}")
    for name in list(values):
        if name not in hints:
            raise _unreadable(
                where, f"meta.json has an unknown field {name!r}. {near_misses(name, hints)}".rstrip()
            )
        if name == "ram_blocks":
            values[name] = _read_blocks(values[name], where)
        elif name == "data_map":
            values[name] = _read_data_map(values[name], where)
        elif not _has_type(values[name], hints[name]):
            raise _unreadable(where, f"{name} in meta.json is {values[name]!r}, not of type {hints[name]}")
    return values


def _check_claims(meta: TraceMeta, where: str) -> None:
    """Refuse numbers that no guest has, and counts that contradict each other."""
    if meta.page_bytes not in _PAGE_SIZES:
        raise _unreadable(where, f"page_bytes is {meta.page_bytes}; it is a power of two from 1 KiB to 2 MiB")
    first = 0
    for block in meta.ram_blocks:
        if block.first_page != first or block.pages < 0:
            raise _unreadable(where, f"RAM block {block.name!r} does not begin where the one before it ends")
        first += block.pages
    total = meta.total_pages
    bounds: dict[str, tuple[float, float, float]] = {
        "ram_bytes": (meta.ram_bytes, meta.page_bytes, LARGEST_RAM),
        "the size of all RAM blocks": (
            total * meta.page_bytes,
            meta.ram_bytes - meta.page_bytes,
            2 * LARGEST_RAM,
        ),
        "vcpus": (meta.vcpus, 0, _MOST_VCPUS),
        "zero_pages": (meta.zero_pages or 0, 0, total),
        "duration_s": (meta.duration_s, 0, _LONGEST_S),
        "lost_events": (meta.lost_events, 0, 1 << 53),
    }
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise _unreadable(where, f"{name} is {value}, not between {least} and {most}")
    if meta.data_map is not None:
        try:
            meta.data_map.check(total)
        except ValueError as error:
            raise _unreadable(where, f"data_map in meta.json is wrong: {error}") from error
        data = sum(meta.data_map.data_pages)
        if meta.zero_pages is not None and data != total - meta.zero_pages:
            raise _unreadable(
                where, f"data_map counts {data} pages with data, zero_pages leaves {total - meta.zero_pages}"
            )
    for name, text, known in (("collector", meta.collector, COLLECTORS), ("accel", meta.accel, _ACCELS)):
        if text not in known:
            raise _unreadable(where, f"{name} is {text!r}, not one of {', '.join(map(repr, known))}")


def _has_type(value: object, hint: Any) -> bool:
    """Say whether a JSON value fits a field's type; True and False are not numbers here."""
    if isinstance(hint, types.UnionType):
        return any(_has_type(value, part) for part in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, kind)


def _read_blocks(value: object, where: str) -> tuple[RamBlock, ...]:
    names = {column.name for column in fields(RamBlock)}
    hints = typing.get_type_hints(RamBlock)
    blocks = []
    for entry in value if isinstance(value, list) else [None]:
        if (
            not isinstance(entry, dict)
            or entry.keys() != names
            or not all(_has_type(entry[name], hints[name]) for name in names)
        ):
            raise _unreadable(where, "ram_blocks in meta.json are not objects of name, first_page and pages")
        blocks.append(RamBlock(**entry))
    return tuple(blocks)


def _read_data_map(value: object, where: str) -> DataMap | None:
    if value is None:
        return None
    try:
        return DataMap.from_plain(value)
    except ValueError as error:
        raise _unreadable(where, f"data_map in meta.json is wrong: {error}") from error


def _unreadable(where: str, why: str) -> TraceError:
    return TraceError(
        f"Cannot read {where} as a trace: {why}.",
        "`migsim trace record` writes traces: zip files of meta.json and Parquet members.",
        "Check the path, or record the trace again.",
    )
