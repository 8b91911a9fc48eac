r"""A traced guest's writing, scaled to a larger guest by a stated rule.

Law
---
Written pages are of four kinds, told apart by how often one is written, :math:`\lambda`, for each transaction
(of `X` a second) and for each transaction of one user (:math:`X/N` a second):

=============  ==============================  ==================================================================
kind           which pages                     what they do
=============  ==============================  ==================================================================
`transaction`  :math:`\lambda/X` at or above   written by (nearly) every transaction: as many in any guest
               a bound
`log`          swept one after the other       the log's buffers: as many in any guest
`session`      :math:`\lambda N/X` at or       written by (nearly) every transaction of one user, as the private
               above the bound                 memory of its server process: as many as users in proportion
`pool`         all others                      a transaction writes a few of many, some of them far more often than
                                               others: the more the buffers (SGA) hold, but not in proportion
=============  ==============================  ==================================================================

With the ratios of the buffers :math:`s`, of the users :math:`u` and of the transactions :math:`x`,

.. math:: n' = n s^{a} u^{c}, \qquad W' = W x^{b}, \qquad \lambda' = W' / n'

where `W` is all writes to the class and the kind's exponents are uncertain (`RULE`): a transaction writes as much as
before; as many pages take the writes of each transaction, of the log, of each session. Pages that hold data and are
never written, and zero pages, keep their shares of the rest. What a write changes in its page stays.

The pool's exponent of the buffers is that of the order-entry guest between 2 and 4 GiB: in the same time, as many
transactions write 1.24 times as many pages of 2.7 times as much data. Its guest of 8 GiB and the live migrations of
both larger guests are what the rule is tested with (`tests/validation/test_scaling_rule.py`). A schema whose
transactions write all rows alike has the exponent 1.

Mirrors: nothing in QEMU; this is the guest.
Leaves out: writes that a larger pool saves (fewer evictions), contention that grows with vCPUs, checkpoints.
Source: a stated rule, tested between 2 and 8 GiB of RAM with one vCPU; beyond that never measured. The talk's guest has
128 GB, 80 vCPUs, an SGA of 40 % and 75 users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from migsim.errors import ParameterError

__all__ = [
    "EVERY_TRANSACTION",
    "RULE",
    "Exponent",
    "Exponents",
    "KindRule",
    "PageKind",
    "draw_rule",
    "median_rule",
    "page_kinds",
    "scaled_extents",
    "scaled_pages",
    "scaled_writes_per_s",
]

Floats = NDArray[np.float64]
PageKind = Literal["pool", "session", "log", "transaction"]
Exponents = tuple[float, float, float]
"""Exponents of the pages by the buffers, of the pages by the users, and of the writes by the transactions."""

EVERY_TRANSACTION = 0.1
"""Writes to a page per transaction from which on (nearly) every transaction is said to write it."""


@dataclass(frozen=True, slots=True)
class Exponent:
    """An uncertain exponent: normal about `median` with the standard deviation `spread`."""

    median: float
    spread: float


@dataclass(frozen=True, slots=True)
class KindRule:
    """Exponents of one kind of pages: its pages by the buffers and by the users, its writes by the transactions."""

    pages: Exponent
    pages_by_users: Exponent
    writes: Exponent


_NOT, _ABOUT_0, _ABOUT_1 = Exponent(0.0, 0.0), Exponent(0.0, 0.1), Exponent(1.0, 0.1)
_WRITES = Exponent(1.0, 0.1)
_POOL = Exponent(0.3, 0.15)

RULE: Mapping[PageKind, KindRule] = {
    "pool": KindRule(_POOL, _NOT, _WRITES),
    "session": KindRule(_ABOUT_0, _ABOUT_1, _WRITES),
    "log": KindRule(_ABOUT_0, _NOT, _WRITES),
    "transaction": KindRule(_ABOUT_0, _NOT, _WRITES),
}
"""The stated rule. With buffers 64 times as large, a spread of 0.15 is a standard error of a factor of 1.9."""


def page_kinds(
    writes_per_page_per_s: Sequence[float],
    patterns: Sequence[str],
    transactions_per_s: float,
    users: int,
    *,
    every: float = EVERY_TRANSACTION,
) -> list[PageKind | None]:
    """Return the kind of each page class; None for one that is never written.

    Examples
    --------
    >>> page_kinds([50.0, 0.6, 0.02, 3.0, 0.0], ["random"] * 3 + ["sweep", "random"], 75.0, users=75)
    ['transaction', 'session', 'pool', 'log', None]
    """
    if not transactions_per_s > 0 or users < 1:
        raise ParameterError(
            f"{users} users of the traced guest complete {transactions_per_s} transactions a second.",
            "Kinds of pages are told apart by how often a transaction writes them.",
            "Give the transactions that were completed while the guest was traced.",
        )
    kinds: list[PageKind | None] = []
    for rate, pattern in zip(writes_per_page_per_s, patterns, strict=True):
        if rate <= 0:
            kinds.append(None)
        elif pattern == "sweep":
            kinds.append("log")
        elif rate >= every * transactions_per_s:
            kinds.append("transaction")
        else:
            kinds.append("session" if rate >= every * transactions_per_s / users else "pool")
    return kinds


def median_rule(rule: Mapping[PageKind, KindRule] = RULE) -> dict[PageKind, Exponents]:
    """Return the median exponents of each kind."""
    return {kind: (r.pages.median, r.pages_by_users.median, r.writes.median) for kind, r in rule.items()}


def draw_rule(
    rng: np.random.Generator, rule: Mapping[PageKind, KindRule] = RULE
) -> dict[PageKind, Exponents]:
    """Draw the exponents of each kind."""

    def drawn(e: Exponent) -> float:
        return e.median + e.spread * float(rng.standard_normal())

    return {kind: (drawn(r.pages), drawn(r.pages_by_users), drawn(r.writes)) for kind, r in rule.items()}


def scaled_pages(
    pages: Sequence[int],
    kinds: Sequence[PageKind | None],
    exponents: Mapping[PageKind, Exponents],
    buffers_ratio: float,
    users_ratio: float,
    total_pages: int,
    zero_pages: int,
    zero_fraction: float | None = None,
) -> tuple[list[int], int]:
    """Return the pages of each class, and the zero pages, of a guest of `total_pages`.

    Written classes grow by the rule; they shrink together where they would have more than `total_pages`. The remaining
    pages are divided among the zero pages and the classes that are never written, in the proportion that they have in
    the traced guest. With `zero_fraction`, that share of all pages is zero, as far as the written classes leave room.

    Examples
    --------
    >>> scaled_pages([100, 40, 300], ["pool", "transaction", None], median_rule(), 10, 1, 6000, zero_pages=160)
    ([200, 40, 3757], 2003)
    """
    written = [kind is not None for kind in kinds]
    wanted = np.zeros(len(pages))
    for k, kind in enumerate(kinds):
        if kind is not None:
            by_buffers, by_users, _ = exponents[kind]
            wanted[k] = pages[k] * buffers_ratio**by_buffers * users_ratio**by_users
    wanted *= min(1.0, total_pages / max(wanted.sum(), 1.0))
    grown = np.maximum(np.floor(wanted + 0.5), np.array(written, float)).astype(int)
    excess = int(grown.sum()) - total_pages
    if excess > 0:  # rounding up
        grown[int(np.argmax(grown))] -= excess
    rest = total_pages - int(grown.sum())
    unwritten = np.array([*(0 if w else n for n, w in zip(pages, written, strict=True)), zero_pages], float)
    if zero_fraction is not None:
        zero = min(zero_fraction * total_pages, float(rest)) if unwritten[:-1].any() else float(rest)
        unwritten[:-1] *= (rest - zero) / max(unwritten[:-1].sum(), 1.0)
        unwritten[-1] = zero
    if not unwritten.any():
        return grown.tolist(), 0
    ends = np.floor(np.cumsum(unwritten) / unwritten.sum() * rest + 0.5)  # whole pages that sum to the rest
    shares = np.diff(ends, prepend=0.0).astype(int)
    return (grown + shares[:-1]).tolist(), int(shares[-1])


def scaled_writes_per_s(
    writes_per_s: float, kind: PageKind, exponents: Mapping[PageKind, Exponents], transactions_ratio: float
) -> float:
    """Return all writes to a class in a second of guest time.

    Examples
    --------
    >>> scaled_writes_per_s(100.0, "pool", median_rule(), 80)
    8000.0
    """
    return float(writes_per_s * transactions_ratio ** exponents[kind][2])


def scaled_extents(
    extents: Sequence[Sequence[tuple[int, int]]],
    pages: Sequence[int],
    total_pages: int,
    traced_pages: int,
) -> list[tuple[tuple[int, int], ...]]:
    """Return the extents of classes in a larger guest: the traced order, with all extents and gaps stretched.

    Parameters
    ----------
    extents : sequence of sequence of (int, int)
        Each class's (first page, pages) in the traced guest.
    pages : sequence of int
        Number of pages of each class in the larger guest.
    total_pages, traced_pages : int
        RAM of the larger guest and of the traced one.

    Returns
    -------
    list of tuple of (int, int)
        Extents of each class; empty where the class has none in the traced guest.

    Examples
    --------
    >>> scaled_extents([[(0, 10), (50, 10)], [(20, 5)]], [40, 5], 200, 100)
    [((0, 20), (97, 20)), ((40, 5),)]
    """
    pieces = sorted((first, n, c) for c, places in enumerate(extents) for first, n in places)
    placed: list[list[tuple[int, int]]] = [[] for _ in extents]
    if not pieces:
        return [() for _ in extents]
    first = np.array([p[0] for p in pieces], float)
    length = np.array([p[1] for p in pieces], float)
    of = np.array([p[2] for p in pieces])
    held = np.bincount(of, weights=length, minlength=len(extents))
    new = length * np.array(pages, float)[of] / held[of]
    ends = np.concatenate([[0.0], (first + length)[:-1]])
    gaps = np.append(np.maximum(first - ends, 0.0), max(traced_pages - first[-1] - length[-1], 0.0))
    spare = max(total_pages - float(new.sum()), 0.0)
    gaps *= spare / gaps.sum() if gaps.sum() else 0.0
    edges = _rounded(new, of, pages)
    at = np.floor(np.cumsum(gaps[:-1]) + 1e-9).astype(int) + np.concatenate([[0], np.cumsum(edges)[:-1]])
    for begin, n, c in zip(at.tolist(), edges.tolist(), of.tolist(), strict=True):
        if n:
            placed[c].append((begin, n))
    return [tuple(places) for places in placed]


def _rounded(new: Floats, of: NDArray[np.int64], pages: Sequence[int]) -> NDArray[np.int64]:
    """Return whole numbers of pages for all pieces, which sum to each class's pages."""
    whole = np.zeros(len(new), np.int64)
    for c, n in enumerate(pages):
        pieces = np.flatnonzero(of == c)
        if len(pieces):
            cumulated = np.floor(np.cumsum(new[pieces]) + 0.5)
            cumulated[-1] = n
            whole[pieces] = np.diff(cumulated, prepend=0.0).astype(np.int64)
    return whole
