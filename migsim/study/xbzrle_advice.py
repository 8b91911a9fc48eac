"""Advice on XBZRLE for a traced guest: whether it saves bytes, and the smallest cache that is as good as any.

Each interval of the trace is taken as a round whose pages are sent in ascending order through the exact cache
(`migsim.models.xbzrle.cache`), for every size of 2^k MiB. The first interval only fills the cache. The bytes of a hit
are the mean of the trace's content samples, for all pages alike. The time that encoding takes is not counted, and zero
pages, which QEMU sends as such, count like other pages.

The trace numbers the pages of one RAM block after the other, largest first. QEMU's addresses may have gaps between
the blocks; within the guest's main memory both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from migsim.errors import TraceError
from migsim.html import html_table
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.models.xbzrle.cache import XbzrleCache, cache_pages
from migsim.models.xbzrle.encoding import record_bytes
from migsim.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

    from migsim.trace import Trace

__all__ = ["CacheSize", "XbzrleAdvice", "advise_xbzrle"]

SMALLEST_BYTES = 4 << 20
DEFAULT_BYTES = 64 << 20
"""QEMU's default `xbzrle-cache-size`."""

NEAR_BEST = 0.02
"""A hit rate within this distance of the best one counts as equally good."""

WORTHWHILE = 0.1
"""XBZRLE helps where it saves at least this share of the bytes."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """Hits and bytes with one `xbzrle-cache-size`, without the first interval.

    Attributes
    ----------
    cache_size_bytes : int
    hit_fraction, refused_fraction : float
        Shares of the pages sent: found in the cache; not found and not inserted, because a younger page has the slot.
    sent_bytes, saved_fraction : float
        Bytes in the stream, and the share that XBZRLE saves; NaN where the trace has no content samples.
    """

    cache_size_bytes: int
    hit_fraction: float
    refused_fraction: float
    sent_bytes: float
    saved_fraction: float


@dataclass(frozen=True)
class XbzrleAdvice:
    """Cache sizes compared for one trace.

    Attributes
    ----------
    trace : str
    sizes : tuple of CacheSize
        Ascending.
    pages_sent : int
        Pages sent after the first interval; a page counts each time it is sent.
    samples : int
        Number of content samples in the trace.
    overflow_fraction, unchanged_fraction, hit_bytes : float
        Shares of the samples that overflow (sent unencoded) and that are unchanged (not sent); mean bytes of a hit in
        the stream. NaN without samples.
    recommended_bytes : int or None
        The smallest size whose hit rate is within 2 points of the best; None where XBZRLE does not help.
    reason : str
        The recommendation in one paragraph.
    """

    trace: str
    sizes: tuple[CacheSize, ...]
    pages_sent: int
    samples: int
    overflow_fraction: float
    unchanged_fraction: float
    hit_bytes: float
    recommended_bytes: int | None
    reason: str

    @property
    def table(self) -> pd.DataFrame:
        """One row per size: ``cache_size_bytes hit_fraction refused_fraction sent_bytes saved_fraction``."""
        import pandas as pd

        columns = list(CacheSize.__slots__)
        return pd.DataFrame([[getattr(size, c) for c in columns] for size in self.sizes], columns=columns)

    def to_json_object(self) -> dict[str, Any]:
        """Return the figures as plain data, with None for NaN."""

        def known(value: float) -> float | None:
            return None if value != value else value

        return {
            "trace": self.trace,
            "recommended-xbzrle-cache-size": self.recommended_bytes,
            "reason": self.reason,
            "pages-sent": self.pages_sent,
            "samples": self.samples,
            "overflow-fraction": known(self.overflow_fraction),
            "unchanged-fraction": known(self.unchanged_fraction),
            "bytes-a-hit": known(self.hit_bytes),
            "sizes": [
                {
                    "xbzrle-cache-size": size.cache_size_bytes,
                    "hit-fraction": size.hit_fraction,
                    "refused-fraction": size.refused_fraction,
                    "sent-bytes": known(size.sent_bytes),
                    "saved-fraction": known(size.saved_fraction),
                }
                for size in self.sizes
            ],
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Return rows of text: size, found, kept out, sent, saved, and a mark at the recommended size."""
        return [
            (
                format_bytes(size.cache_size_bytes, exact=True),
                f"{size.hit_fraction:.1%}",
                f"{size.refused_fraction:.1%}",
                format_bytes(size.sent_bytes),
                "unknown" if size.saved_fraction != size.saved_fraction else f"{size.saved_fraction:.1%}",
                "recommended" if size.cache_size_bytes == self.recommended_bytes else "",
            )
            for size in self.sizes
        ]

    def __repr__(self) -> str:
        return f"<XbzrleAdvice {self.trace}: {self.reason}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<div>{html_table(self.trace, HEADINGS, self.rows())}<p>{escape(self.reason)}</p></div>"


HEADINGS = ("xbzrle-cache-size", "found", "kept out", "sent", "saved", "")


def advise_xbzrle(trace: Trace, *, aged: bool = True) -> XbzrleAdvice:
    """Compare cache sizes for a trace with page numbers.

    Parameters
    ----------
    trace : Trace
        A trace by the stream or dirty-ring collector.
    aged : bool
        Whether recently used pages are protected from eviction (QEMU 2.3 and later).

    Raises
    ------
    TraceError
        The trace has page numbers of fewer than two intervals, or they need more memory than there is.

    Examples
    --------
    >>> advise_xbzrle(Trace.open("db.trace")).recommended_bytes        # doctest: +SKIP
    """
    trace.check_rounds_memory("a walk of its pages through the cache")
    rounds = [pages for pages in (trace.pages(i) for i in range(len(trace.intervals))) if len(pages)]
    if len(rounds) < 2:
        raise TraceError(
            f"{trace.path} has page numbers of {len(rounds)} interval(s).",
            "A cache saves bytes when pages are sent again, which takes at least two intervals.",
            "Record the trace with --method stream or dirty-ring, and for longer.",
        )
    lengths = trace.content["xbzrle_bytes"].to_numpy(np.int64)
    hit_bytes = float(record_bytes(lengths).mean()) if len(lengths) else float("nan")
    sent = sum(len(pages) for pages in rounds[1:])
    sizes: list[CacheSize] = []
    largest = 1 << max(trace.meta.ram_bytes - 1, SMALLEST_BYTES - 1).bit_length()
    size = SMALLEST_BYTES
    while size <= largest:
        hits, refused, conflicts = _run_through_cache(rounds, size, aged)
        # Without conflicts every page has a slot of its own, in any larger cache too: the counts are the same.
        for same_counts in (
            [size] if conflicts else [size << n for n in range((largest // size).bit_length())]
        ):
            sent_bytes = hits * hit_bytes + (sent - hits) * NORMAL_PAGE_BYTES
            saved = 1 - sent_bytes / (sent * NORMAL_PAGE_BYTES)
            sizes.append(CacheSize(same_counts, hits / sent, refused / sent, sent_bytes, saved))
        size = sizes[-1].cache_size_bytes << 1
    best = max(s.hit_fraction for s in sizes)
    enough = next(s for s in sizes if s.hit_fraction >= best - NEAR_BEST)
    overflow, unchanged = (
        float((lengths == mark).mean()) if len(lengths) else float("nan") for mark in (-1, 0)
    )
    helps = not enough.saved_fraction < WORTHWHILE
    return XbzrleAdvice(
        trace=trace.path.name,
        sizes=tuple(sizes),
        pages_sent=sent,
        samples=len(lengths),
        overflow_fraction=overflow,
        unchanged_fraction=unchanged,
        hit_bytes=hit_bytes,
        recommended_bytes=enough.cache_size_bytes if helps else None,
        reason=_reason(sizes, enough, sent, overflow, hit_bytes, helps),
    )


def _run_through_cache(rounds: list[NDArray[np.int64]], size: int, aged: bool) -> tuple[int, int, bool]:
    """Return hits and refusals after the first round, and whether any two pages share a slot."""
    slots = cache_pages(size)
    touched = np.unique(np.concatenate(rounds))
    used = np.unique(touched & (slots - 1))
    # Slots that no page uses need no memory: the used ones are renumbered.
    slots_kept = 1 << (len(used) - 1).bit_length()
    cache = XbzrleCache(slots_kept, aged=aged)
    refused_at_first = 0
    for generation, pages in enumerate(rounds, start=1):
        cache.access(pages // slots * slots_kept + np.searchsorted(used, pages & (slots - 1)), generation)
        if generation == 1:
            refused_at_first = cache.refused
    return cache.hits, cache.refused - refused_at_first, len(used) < len(touched)


def _reason(
    sizes: list[CacheSize], enough: CacheSize, sent: int, overflow: float, hit_bytes: float, helps: bool
) -> str:
    found = (
        f"A cache of {format_bytes(enough.cache_size_bytes, exact=True)} finds {enough.hit_fraction:.0%} of "
        "the pages sent after the first interval"
    )
    if hit_bytes != hit_bytes:
        return (
            f"{found}, within 2 points of the best. The trace does not show how contents change, so what that "
            "saves is unknown; the stream collector samples it."
        )
    if not helps and overflow > 0.5:
        return (
            f"XBZRLE does not help: {overflow:.0%} of the sampled pages overflow, that is, change so much that "
            f"the encoding is longer than the page. {found}, and that saves {enough.saved_fraction:.1%} of the "
            "bytes."
        )
    if not helps:
        return (
            f"XBZRLE does not help: {found[0].lower()}{found[1:]}, no size finds over 2 points more, and that "
            f"saves {enough.saved_fraction:.1%} of the bytes."
        )
    usual = next((s for s in sizes if s.cache_size_bytes == DEFAULT_BYTES), None)
    default = ""
    if usual and usual.hit_fraction < enough.hit_fraction:
        default = (
            f" QEMU's default of {format_bytes(DEFAULT_BYTES, exact=True)} finds {usual.hit_fraction:.0%}."
        )
    return (
        f"{found}, within 2 points of the best; one of them takes {hit_bytes:.0f} bytes instead of "
        f"{NORMAL_PAGE_BYTES}. Of {format_bytes(sent * NORMAL_PAGE_BYTES)} that saves "
        f"{enough.saved_fraction:.0%}.{default}"
    )
