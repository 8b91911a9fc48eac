"""Traces of guests whose writing is known: what the engine is told and what a stream collector would have seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from migsim.models.xbzrle.encoding import page_change
from migsim.trace import RamBlock, Trace, TraceMeta, TraceWriter
from migsim.workload import PageContent, Workload, WorkloadClass

PAGE = 4096
LENGTHS_S = (0.2, 0.3, 0.2, 0.5, 0.2, 1.0, 0.3, 2.0, 0.2, 0.5, 4.0)


def workload(ram_pages: int, classes: Any, zero_pages: int, bytes_a_write: int = 0) -> Workload:
    """The guest in the engine's words; `classes` are (first page, pages, writes a second in all, pattern)."""
    content = PageContent(bytes_a_write=bytes_a_write) if bytes_a_write else None
    made = [
        WorkloadClass(
            pages=pages,
            writes_per_page_per_s=rate / pages,
            pattern=pattern,
            extents=((first, pages),),
            content=content,
        )
        for first, pages, rate, pattern in classes
    ]
    end = max((first + pages for first, pages, *_ in classes), default=0)
    still = ram_pages - zero_pages - sum(pages for _, pages, *_ in classes)
    if still:
        made.append(WorkloadClass(pages=still, writes_per_page_per_s=0.0, extents=((end, still),)))
    return Workload(
        ram_bytes=ram_pages * PAGE,
        ram_total_bytes=ram_pages * PAGE,
        zero_pages=zero_pages,
        classes=tuple(made),
    )


def written(classes: Any, start_s: float, end_s: float, rng: np.random.Generator) -> np.ndarray:
    """Pages written between two instants."""
    parts = []
    for first, pages, rate, pattern in classes:
        if pattern == "sweep":
            low, high = int(rate * start_s), int(rate * end_s)
            parts.append(first + np.unique(np.arange(low, min(high, low + pages)) % pages))
        else:
            parts.append(first + np.unique(rng.integers(0, pages, rng.poisson(rate * (end_s - start_s)))))
    return np.concatenate([np.zeros(0, np.int64), *parts])


def stream_trace(
    path: Any,
    classes: Any,
    *,
    ram_pages: int = 1 << 18,
    zero_pages: int = 0,
    laps: int = 4,
    lengths_s: Any = LENGTHS_S,
    bytes_a_write: int = 0,
    seed: int = 11,
) -> Trace:
    """Rounds as a stream collector records them, with contents of some pages where a write's bytes are given."""
    rng = np.random.default_rng(seed)
    meta = TraceMeta(
        collector="stream",
        qemu_version="10.0.2",
        accel="kvm",
        ram_bytes=ram_pages * PAGE,
        ram_blocks=RamBlock.stack([("pc.ram", ram_pages * PAGE)]),
        zero_pages=zero_pages,
    )
    sampled = _Contents(classes[0], bytes_a_write, rng) if bytes_a_write else None
    writer = TraceWriter(path, meta)
    at = 0.0
    for length in list(lengths_s) * laps:
        pages = written(classes, at, at + length, rng)
        if sampled is not None:
            columns = sampled.sent(pages, length)
            if len(columns[0]):
                writer.add_content(*columns)
        writer.add_interval(at, at + length, pages=pages, sent_pages=len(pages))
        at += length
    writer.close()
    return Trace.open(path)


class _Contents:
    """Contents of some pages of a class of random writes, when they were sent last."""

    def __init__(self, hot: Any, bytes_a_write: int, rng: np.random.Generator) -> None:
        first, pages, rate, _ = hot
        self.pages = first + np.sort(rng.choice(pages, min(pages, 200), replace=False))
        self.a_page_per_s, self.size, self.rng = rate / pages, bytes_a_write, rng
        self.known = rng.integers(0, 256, (len(self.pages), PAGE)).astype(np.uint8)

    def sent(self, dirty: np.ndarray, length: float) -> tuple[np.ndarray, ...]:
        at = np.flatnonzero(np.isin(self.pages, dirty))
        new = self.known[at].copy()
        for page in new:
            many = 0
            while not many:  # it is known to have been written
                many = self.rng.poisson(self.a_page_per_s * length)
            for place in self.rng.integers(0, PAGE // 8, many):
                page[place * 8 : place * 8 + self.size] = self.rng.integers(0, 256, self.size)
        change = page_change(self.known[at], new)
        self.known[at] = new
        return (self.pages[at], *change)
