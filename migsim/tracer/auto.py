"""Which collectors there are, and the best of them for a guest on this host."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from migsim.errors import HostError, UsageError, near_misses

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.tracer.base import Collector

__all__ = ["METHODS", "choose_collector", "make_collector"]

# Best first: every write with its time; page numbers per round; totals only.
_COLLECTORS = {
    "dirty-ring": ("migsim.tracer.ring.collector", "DirtyRingCollector"),
    "stream": ("migsim.tracer.stream.collector", "StreamCollector"),
    "dirty-rate": ("migsim.tracer.dirty_rate", "DirtyRateCollector"),
}
METHODS = ("auto", *_COLLECTORS)


def make_collector(name: str) -> Collector:
    """Make a collector by name.

    Raises
    ------
    UsageError
        There is none of that name.

    Examples
    --------
    >>> make_collector("dirty-rate").name
    'dirty-rate'
    """
    if name not in _COLLECTORS:
        raise UsageError(
            f"There is no collector {name!r}.", f"There are {', '.join(METHODS)}.", near_misses(name, METHODS)
        )
    module, attribute = _COLLECTORS[name]
    made: Collector = getattr(importlib.import_module(module), attribute)()
    return made


def choose_collector(session: QmpSession, method: str = "auto") -> tuple[Collector, str]:
    """Pick a collector that works for this guest, and say why it is this one.

    Raises
    ------
    HostError
        The method asked for, or every one, cannot work here.
    UsageError
        There is no such method.
    """
    refused: list[str] = []
    for name in _COLLECTORS if method == "auto" else (method,):
        candidate = make_collector(name)
        available = candidate.check(session)
        if available:
            others = f" (not {'; not '.join(refused)})" if refused else ""
            return candidate, f"{name}: {available.why}{others}"
        refused.append(f"{name}: {available.why}")
    raise HostError(
        f"Cannot trace this guest by {method}: {'; '.join(refused)}.",
        "A collector works only where host, QEMU and guest offer what it needs.",
        "Use --method auto, or provide what is missing." if method != "auto" else "Provide what is missing.",
    )
