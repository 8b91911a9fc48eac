"""The list of collectors, and the choice of the best one for a guest on this host."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from migsim.errors import HostError, UsageError, near_misses

if TYPE_CHECKING:
    from migsim.qmp import QmpSession
    from migsim.tracer.base import Collector

__all__ = ["METHODS", "choose_collector", "make_collector"]

# Best first: each logged page with its time; page numbers of each round; totals only.
_COLLECTORS = {
    "dirty-ring": ("migsim.tracer.ring.collector", "DirtyRingCollector"),
    "stream": ("migsim.tracer.stream.collector", "StreamCollector"),
    "dirty-rate": ("migsim.tracer.dirty_rate", "DirtyRateCollector"),
}
METHODS = ("auto", *_COLLECTORS)


def make_collector(name: str) -> Collector:
    """Make the collector of a name.

    Raises
    ------
    UsageError
        No collector has that name.

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
    collector: Collector = getattr(importlib.import_module(module), attribute)()
    return collector


def choose_collector(session: QmpSession, method: str = "auto") -> tuple[Collector, str]:
    """Choose the best collector that works for this guest; return it and the reason for the choice.

    Raises
    ------
    HostError
        The requested method does not work here, or no method does.
    UsageError
        There is no such method.
    """
    refusals: list[str] = []
    for name in _COLLECTORS if method == "auto" else (method,):
        candidate = make_collector(name)
        available = candidate.check(session)
        if available:
            others = f" (not {'; not '.join(refusals)})" if refusals else ""
            return candidate, f"{name}: {available.why}{others}"
        refusals.append(f"{name}: {available.why}")
    raise HostError(
        f"Cannot trace this guest by {method}: {'; '.join(refusals)}.",
        "Each collector needs certain features of host, QEMU and guest.",
        "Use --method auto, or provide what is missing." if method != "auto" else "Provide what is missing.",
    )
