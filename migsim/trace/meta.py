"""What a trace says about itself: `meta.json`."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from migsim.errors import TraceError, near_misses
from migsim.units import PAGE_BYTES

__all__ = ["FORMAT", "VERSION", "RamBlock", "TraceMeta"]

FORMAT = "migsim-trace"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RamBlock:
    """One of QEMU's RAM blocks and where its pages lie in the trace's global page numbers.

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
        """Number the pages of (name, bytes) blocks one block after the other."""
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
        ``10.0.8``; ``kvm``, ``tcg`` or "" where unknown.
    ram_bytes : int
        The guest's RAM (what ``-m`` said).
    ram_blocks : tuple of RamBlock
        Every migrated block, largest first; their order numbers the pages.
    vcpus, page_bytes : int
    zero_pages : int or None
        Pages that hold only zeros (None: unknown), and `zero_pages_source` says how that is known.
    started : str
        ISO time, UTC.
    duration_s : float
    complete : bool
        False where the recording was cut short; `note` says why.
    guest, provenance : dict
        Free: what the guest was told to do, where that is known; who made the file.
    self_check : dict
        Free: what the collector found of its own effect on the guest.
    command : str
        The command that recorded it.
    lost_events : int
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
        """Pages of all blocks; of `ram_bytes` alone where the blocks are unknown."""
        return sum(block.pages for block in self.ram_blocks) or self.ram_bytes // self.page_bytes

    def to_json(self) -> str:
        """Write as the text of ``meta.json``."""
        return json.dumps(
            {"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "meta.json") -> TraceMeta:
        """Read ``meta.json``.

        Raises
        ------
        TraceError
            Not JSON, not a trace's, of a newer version, or with a field of the wrong type.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _refused(where, f"meta.json is not JSON ({error})") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise _refused(where, "it is not a migsim trace")
        if data.get("version") != VERSION:
            raise TraceError(
                f"{where} is a trace of version {data.get('version')!r}.",
                f"This migsim reads version {VERSION}.",
                "Read it with the migsim that recorded it.",
            )
        values = {name: value for name, value in data.items() if name not in ("format", "version")}
        return cls(**_checked(_check_moved(values), where))


def _check_moved(values: dict[str, Any]) -> dict[str, Any]:
    """Take the self-check out of `guest`, where the first traces kept it: `guest` has to equal a scenario's."""
    guest = values.get("guest")
    if not isinstance(guest, dict) or "self_check" not in guest:
        return values
    rest = {name: value for name, value in guest.items() if name != "self_check"}
    return {**values, "guest": rest, "self_check": values.get("self_check") or guest["self_check"]}


def _checked(values: dict[str, Any], where: str) -> dict[str, Any]:
    hints = typing.get_type_hints(TraceMeta)
    missing = {"collector", "qemu_version", "ram_bytes"} - values.keys()
    if missing:
        raise _refused(where, f"meta.json lacks {', '.join(sorted(missing))}")
    for name in list(values):
        if name not in hints:
            raise _refused(
                where, f"meta.json has an unknown field {name!r}. {near_misses(name, hints)}".rstrip()
            )
        if name == "ram_blocks":
            values[name] = _blocks(values[name], where)
        elif not _is_a(values[name], hints[name]):
            raise _refused(where, f"meta.json says {name}: {values[name]!r}, which is no {hints[name]}")
    if values["ram_bytes"] < 0 or values.get("page_bytes", 4096) <= 0:
        raise _refused(where, "meta.json states a negative size")
    return values


def _is_a(value: object, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, part) for part in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int and isinstance(value, bool):
        return False
    return isinstance(value, kind)


def _blocks(value: object, where: str) -> tuple[RamBlock, ...]:
    names = {f.name for f in fields(RamBlock)}
    hints = typing.get_type_hints(RamBlock)
    blocks = []
    for entry in value if isinstance(value, list) else [None]:
        if (
            not isinstance(entry, dict)
            or entry.keys() != names
            or not all(_is_a(entry[name], hints[name]) for name in names)
        ):
            raise _refused(where, "meta.json's ram_blocks are not (name, first_page, pages)")
        blocks.append(RamBlock(**entry))
    return tuple(blocks)


def _refused(where: str, why: str) -> TraceError:
    return TraceError(
        f"Cannot read {where} as a trace: {why}.",
        "A trace is what `migsim trace record` writes: a zip of meta.json and Parquet members.",
        "Check the path, or record the trace again.",
    )
