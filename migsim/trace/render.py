"""The summary of a trace: rows of text for the terminal, HTML with a small picture for notebooks."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from migsim.units import format_bytes

if TYPE_CHECKING:
    from migsim.trace.data_map import DataMap
    from migsim.trace.reader import Trace

__all__ = ["summary", "to_html"]


def summary(trace: Trace) -> list[tuple[str, str]]:
    """Return (label, text) rows that describe a trace; each dirty rate is given with its window length."""
    meta = trace.meta
    lost = meta.lost_events or int(trace.intervals["lost_events"].sum())
    rows = [
        ("collector", meta.collector),
        ("guest", _guest_text(trace)),
        ("recorded", f"{meta.started or 'unknown time'}, {meta.duration_s:.1f} s"),
        ("intervals", f"{len(trace.intervals)} intervals, {len(trace.windows)} dirty-rate windows"),
        ("pages", f"{meta.total_pages:,} of {meta.page_bytes} bytes in {len(meta.ram_blocks)} blocks"),
        ("zero pages", _zero_pages_text(trace)),
    ]
    if meta.data_map is not None:
        rows.append(("data lies", _data_map_text(trace, meta.data_map)))
    if len(trace.unique_dirty_curve()):
        rows.append(("window lengths", windows_text(trace.unique_dirty_curve().window_s)))
    rows += [(f"dirty rate, {mode}", text) for mode, text in _rate_texts(trace)]
    if len(trace.content):
        rows.append(("content", _content_text(trace)))
    rows.append(("lost events", f"{lost:,}"))
    rows.append(("complete", "yes" if meta.complete else "no"))
    if meta.self_check:
        checks = [f"{name.replace('_', ' ')}: {value}" for name, value in meta.self_check.items()]
        rows.append(("self-check", ", ".join(checks)))
    if meta.note:
        rows.append(("note", meta.note))
    return rows


def _guest_text(trace: Trace) -> str:
    meta = trace.meta
    size = meta.ram_bytes
    size_text = f"{size / 2**30:.6g} GiB" if size >= 2**30 else f"{size / 2**20:.6g} MiB"
    parts = [f"{size_text} RAM", f"{meta.vcpus} vCPU", f"QEMU {meta.qemu_version}", meta.accel]
    return ", ".join(part for part in parts if part)


def _zero_pages_text(trace: Trace) -> str:
    meta = trace.meta
    if meta.zero_pages is None:
        return "unknown"
    share = meta.zero_pages / meta.total_pages if meta.total_pages else 0.0
    source = f", by {meta.zero_pages_source}" if meta.zero_pages_source else ""
    return f"{meta.zero_pages:,} ({share:.1%}){source}"


def _data_map_text(trace: Trace, data_map: DataMap) -> str:
    """Return a map of RAM, lowest address first, with its legend."""
    meta = trace.meta
    cell = format_bytes(data_map.cell_pages * meta.page_bytes)
    return (
        f"[{data_map.drawn(meta.total_pages)}] from page 0 on: # full of data, * + - . less, blank zero; "
        f"counted by {cell}"
    )


def _rate_texts(trace: Trace) -> list[tuple[str, str]]:
    """Return (mode, dirty rates) for each mode, at up to five window lengths."""
    curve = trace.unique_dirty_curve()
    rows = []
    for mode in dict.fromkeys(curve.mode.tolist()):
        of_mode = curve.only(mode)
        chosen = np.unique(np.linspace(0, len(of_mode) - 1, min(len(of_mode), 5)).round().astype(int))
        texts = []
        for index in chosen:
            window, dirty = of_mode.window_s[index], of_mode.dirty_pages[index]
            texts.append(
                f"{dirty * trace.meta.page_bytes / window / 1e6:.3g} MB/s over {_window_text(window)} windows"
            )
        rows.append((mode, ", ".join(texts)))
    return rows


_LENGTHS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Bounds of the lengths by which windows are counted."""


def windows_text(window_s: NDArray[np.float64]) -> str:
    """Say which window lengths a trace resolves: how many different ones it has of which length.

    Examples
    --------
    >>> windows_text(np.array([0.05, 0.3, 0.31, 4.0]))
    '1 of 0.05 to 0.1 s, 2 of 0.2 to 0.5 s, 1 of 2 to 5 s; shorter ones are extrapolated'
    """
    at = np.searchsorted(_LENGTHS_S, window_s, side="right")
    bounds = [f"{length:g}" for length in _LENGTHS_S]
    names = [f"below {bounds[0]} s"]
    names += [f"of {low} to {high} s" for low, high in pairwise(bounds)]
    names += [f"above {bounds[-1]} s"]
    counts = np.bincount(at, minlength=len(names)).tolist()
    texts = [f"{count} {name}" for count, name in zip(counts, names, strict=True) if count]
    return ", ".join(texts) + "; shorter ones are extrapolated"


def _window_text(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _content_text(trace: Trace) -> str:
    content = trace.content
    encoded = content["xbzrle_bytes"].to_numpy()
    fits = encoded >= 0
    median = f", median {np.median(encoded[fits]):.0f} bytes when encoded" if fits.any() else ""
    return (
        f"{len(content):,} re-sent pages compared: "
        f"median {content['changed_bytes'].median():.0f} bytes changed in "
        f"{content['runs'].median():.0f} runs; XBZRLE fits {fits.mean():.0%}{median}"
    )


def to_html(trace: Trace) -> str:
    """Return the summary as a table beside the unique-dirty curve: HTML without external resources."""
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th>"
        f"<td style='text-align:left'>{escape(text)}</td></tr>"
        for label, text in summary(trace)
    )
    return (
        f"<div><b>{escape(trace.path.name)}</b><div style='display:flex;gap:1em;flex-wrap:wrap'>"
        f"<table>{body}</table>{_svg(trace)}</div></div>"
    )


_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b")


def _svg(trace: Trace) -> str:
    curve = trace.unique_dirty_curve()
    positive = (curve.window_s > 0) & (curve.dirty_pages > 0)
    if not positive.any():
        return ""
    x, y = np.log10(curve.window_s[positive]), curve.dirty_pages[positive] * trace.meta.page_bytes / 2**20
    modes = curve.mode[positive]
    width, height, left, bottom = 360.0, 220.0, 56.0, 34.0
    low, high = float(x.min()), float(max(x.max(), x.min() + 0.1))
    top = float(y.max()) * 1.05
    at_x = left + (x - low) / (high - low) * (width - left - 12)
    at_y = (height - bottom) * (1 - y / top) + 4
    parts = [
        f"<svg width='{width:.0f}' height='{height:.0f}' role='img' "
        "aria-label='unique dirty memory by window' font-family='sans-serif' font-size='11'>",
        f"<path d='M{left} 4V{height - bottom + 4}H{width - 8}' fill='none' stroke='#888'/>",
        f"<text x='{left - 4}' y='14' text-anchor='end'>{top:.3g} MiB</text>",
        f"<text x='{left}' y='{height - 16}'>{escape(_window_text(10**low))}</text>",
        f"<text x='{width - 8}' y='{height - 16}' text-anchor='end'>{escape(_window_text(10**high))}</text>",
        f"<text x='{(left + width) / 2}' y='{height - 3}' text-anchor='middle'>window (log)</text>",
    ]
    for number, mode in enumerate(dict.fromkeys(modes.tolist())):
        colour = _COLOURS[number % len(_COLOURS)]
        of_mode = modes == mode
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(at_x[of_mode], at_y[of_mode], strict=True))
        parts.append(f"<polyline points='{points}' fill='none' stroke='{colour}'/>")
        parts += [
            f"<circle cx='{a:.1f}' cy='{b:.1f}' r='2.5' fill='{colour}'/>"
            for a, b in zip(at_x[of_mode], at_y[of_mode], strict=True)
        ]
        parts.append(
            f"<text x='{left + 8}' y='{18 + 14 * number}' fill='{colour}'>{escape(str(mode))}</text>"
        )
    return "".join(parts) + "</svg>"
