"""What both engines note of a bitmap sync, and the table of a migration's rounds that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from migsim.models.loop.query_migrate import transferred_bytes

if TYPE_CHECKING:
    import pandas as pd

    from migsim.models.loop.behaviour import Behaviour

__all__ = ["SyncRow", "iterations_of"]


@dataclass(slots=True)
class SyncRow:
    """A bitmap sync: when it began and how long it took, what it found, and the counters when it began.

    The batch engine's `migsim.engine.batch.records.SyncNote` has the same names.
    """

    count: int  # `dirty-sync-count`, this sync included
    begun_s: float
    length_s: float
    dirty_pages: float  # pages that became dirty since the last sync
    remaining_bytes: float  # dirty memory after the sync
    dirty_pages_rate: float
    mbps: float
    guest_lost_s: float
    normal: float
    duplicate: float
    ram_stream: float
    other_stream: float
    multifd_stream: float
    xbzrle_pages: float = 0.0
    cache_miss: float = 0.0
    xbzrle_overflow: float = 0.0
    xbzrle_bytes: float = 0.0

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "dirty_pages_rate", "mbps", "normal", "duplicate", "ram_stream", "other_stream", "multifd_stream",
        "xbzrle_pages", "cache_miss", "xbzrle_overflow", "xbzrle_bytes",
    )  # fmt: skip

    def transferred(self, behaviour: Behaviour) -> float:
        """`ram.transferred` by then."""
        counts_all_stream = behaviour.transferred_counts == "stream"
        return transferred_bytes(self.ram_stream, self.other_stream, counts_all_stream)


def iterations_of(syncs: Sequence[SyncRow], end: SyncRow, behaviour: Behaviour) -> pd.DataFrame:
    """Make the table of rounds: a row from each sync to the next one, the last to the end."""
    from migsim.results import iterations_frame

    rows = []
    for row, after in zip(syncs, [*syncs[1:], end], strict=True):
        rows.append(
            {
                "dirty_sync_count": row.count,
                "start_s": row.begun_s,
                "end_s": after.begun_s,
                "sync_s": row.length_s,
                "dirty_pages": row.dirty_pages,
                "remaining_bytes_after_sync": row.remaining_bytes,
                "transferred_bytes": after.transferred(behaviour) - row.transferred(behaviour),
                "normal": after.normal - row.normal,
                "duplicate": after.duplicate - row.duplicate,
                "xbzrle_pages": after.xbzrle_pages - row.xbzrle_pages,
                "cache_misses": after.cache_miss - row.cache_miss,
                "dirty_pages_rate": row.dirty_pages_rate,
                "mbps": row.mbps,
            }
        )
    return iterations_frame(rows)
