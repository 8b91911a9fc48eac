"""Predictors of XBZRLE: ChenLiang's and Lieven's runs of the test program in docs/xbzrle.txt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES, ram_bytes_of
from migsim.models.loop.rate_limit import WINDOW_S, window_bytes, window_quota_bytes
from migsim.models.xbzrle.cache import XbzrleCache, cache_pages, xbzrle_rules
from migsim.models.xbzrle.encoding import counted_bytes, xbzrle_length
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES
from validation.published import Fixture
from validation.published.table import Answer, Value

__all__ = ["chenliang", "lieven"]

KIB = 1024
HEAP_OFFSET_BYTES = 16
"""Offset of a large allocation of the C library in its first page; no length depends on it."""

Row = Mapping[str, Any]


def chenliang(fixture: Fixture) -> Answer:
    """Answer the cache's counters with the exact cache; the program's buffer is swept once in every generation."""
    load = fixture.rows("load")["program"]
    values: dict[str, Value] = {}
    for name, version in (("before", QemuVersion(2, 2)), ("after", QemuVersion(2, 3))):
        row = fixture.rows("samples")[name]
        hits, misses, last_fraction = _sweeps(row, load["hot-pages"], version)
        stream = ram_bytes_of(row["normal-pages"], row["duplicate-pages"]) + row["xbzrle-bytes"]
        values |= {
            f"samples.{name}.xbzrle-pages": hits,
            f"samples.{name}.cache-miss-pages": misses,
            f"samples.{name}.cache-miss-fraction": last_fraction,
            f"samples.{name}.xbzrle-bytes": row["xbzrle-pages"] * _page_bytes(load, version),
            f"samples.{name}.transferred-bytes": stream,
        }
    return Answer(values=values)


def lieven(fixture: Fixture) -> Answer:
    """Answer bytes from the counters, and total time from the default limit of 32 MiB/s."""
    load = fixture.rows("load")["program"]
    values: dict[str, Value] = {}
    for name, version in (("after-bulk", QemuVersion(1, 5)), ("from-start", QemuVersion(1, 4))):
        row = fixture.rows("runs")[name]
        stream = ram_bytes_of(row["normal-pages"], row["duplicate-pages"]) + row["xbzrle-kib"] * KIB
        limit = 32 << 20
        window = window_bytes(window_quota_bytes(limit), NORMAL_PAGE_BYTES, "enqueue")
        values |= {
            f"runs.{name}.xbzrle-kib": row["xbzrle-pages"] * _page_bytes(load, version) / KIB,
            f"runs.{name}.transferred-kib": stream / KIB,
            f"runs.{name}.total-ms": 1000 * row["transferred-kib"] * KIB / (window / WINDOW_S),
        }
    # up to 1.4 every non-zero page goes through the cache, and a page that is not found is sent raw
    before = fixture.rows("runs")["from-start"]
    if not xbzrle_rules(QemuVersion(1, 4)).after_first_sweep:
        values["runs.from-start.cache-miss-pages"] = before["normal-pages"]
    return Answer(values=values)


def _page_bytes(load: Row, version: QemuVersion) -> float:
    """Return the bytes that a page of the program adds to `xbzrle-cache.bytes`."""
    old = np.zeros((1, PAGE_BYTES), np.uint8)
    new = old.copy()
    new[0, HEAP_OFFSET_BYTES :: load["stride-bytes"]] = 1
    return float(counted_bytes(xbzrle_length(old, new), version)[0])


def _sweeps(row: Row, hot_pages: int, version: QemuVersion) -> tuple[int, int, float]:
    """Return hits, misses and the last sweep's share of misses, for one sweep after each sync but the last."""
    cache = XbzrleCache(cache_pages(row["cache-bytes"], version), aged=xbzrle_rules(version).aged)
    pages = np.arange(hot_pages)
    found = np.zeros(hot_pages, bool)
    for generation in range(2, row["sync-count"]):
        found = cache.access(pages, generation)
    return cache.hits, cache.misses, 1.0 - float(found.mean())
