r"""The first pass over RAM, in which a stop leaves what lies at its end.

Law
---
The first pass sends each page once: blocks in QEMU's order, pages by address, data whole and zero pages as a mark. A
guest that is stopped when the pass is at address :math:`a` has

.. math:: R(a) = \sum_{p \ge a} d_p, \qquad Z(a) = \sum_{p \ge a} (1 - d_p)

pages with data and zero pages left that were never sent (:math:`d_p` is 1 for a page with data), beside those that were
written behind the sender. So it matters where zero pages lie, and not only how many there are: of the end of RAM all
may be data, or nothing.

Where data lies is known by cells of RAM. `address_runs` joins cells to runs, each of which is taken to hold its data
first and its zero pages behind. At an edge inside a run, with :math:`Z` of its zero pages before the edge and :math:`D`
of its pages with data behind it, :math:`R(a)` is then wrong by :math:`\min(Z, D)`: this is held below a share
:math:`\epsilon` of all pages behind the run. So the runs are short at the end of RAM, where a stop comes, and there are
few: a run holds at least :math:`\epsilon` times as many zero pages as there are pages behind the cell that follows it,
and the number of runs grows with the logarithm of the number of cells. Cells full of data at a run's end are the next
one's. A cell that is written lies no further from its place than a given number of pages: that ends a run too.

Mirrors: `migration/ram.c` ram_find_and_save_block, find_dirty_block; `softmmu/physmem.c` ram_block_add (largest first).
Leaves out: order within a cell; pages that the guest fills or clears while the pass is under way.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AddressRun", "address_runs", "never_seen_pages"]

Floats = NDArray[np.float64]

_NONE = 0.5  # fewer pages than this are none


class AddressRun(NamedTuple):
    """Cells side by side: from `begin` to before `end`; its data is taken to lie first, its zero pages behind."""

    begin: int
    end: int


def address_runs(
    data: ArrayLike,
    zero: ArrayLike,
    share: float,
    *,
    kept: ArrayLike = (),
    most_moved: float = inf,
) -> list[AddressRun]:
    """Join cells to few runs, so that the data behind any cell's edge is right within a share of the pages behind it.

    Parameters
    ----------
    data, zero : array_like
        Pages with data, and zero pages, of each cell.
    share : float
        Part of the pages behind a run that may be taken to lie on the wrong side of an edge in it.
    kept : array_like of bool
        Cells whose data may lie no further from its place than `most_moved` pages: those that are written.
    most_moved : float

    Examples
    --------
    >>> address_runs([4, 4, 0, 0, 4, 0], [0, 0, 4, 4, 0, 4], share=0.1)
    [AddressRun(begin=0, end=4), AddressRun(begin=4, end=6)]
    >>> address_runs([2, 2, 2, 2, 2, 2], [2, 2, 2, 2, 2, 2], share=0.25)
    [AddressRun(begin=0, end=3), AddressRun(begin=3, end=4), AddressRun(begin=4, end=5), AddressRun(begin=5, end=6)]
    """
    data_to, zero_to = _sums(data), _sums(zero)
    runs: list[AddressRun] = []
    begin, cells = 0, len(data_to) - 1
    stays = np.asarray(kept, bool).tolist() or [False] * cells
    while begin < cells:
        end = begin + 1
        edge = begin + 1  # the first at which the zero pages before it outweigh the data behind it
        while end < cells and not (stays[end] and zero_to[end] - zero_to[begin] > most_moved):
            behind = data_to[end + 1]
            while edge <= end and zero_to[edge] - zero_to[begin] < behind - data_to[edge]:
                edge += 1
            wrong = max(
                min(zero_to[e] - zero_to[begin], behind - data_to[e]) for e in (max(edge - 1, begin), edge)
            )
            pages_behind = data_to[-1] - behind + zero_to[-1] - zero_to[end + 1]
            if wrong > share * pages_behind:
                break
            end += 1
        while end < cells and zero_to[end] - zero_to[begin] > _NONE > zero_to[end] - zero_to[end - 1]:
            end -= 1
        runs.append(AddressRun(begin, end))
        begin = end
    return runs


def never_seen_pages(data: ArrayLike, zero: ArrayLike, seen: ArrayLike, pages: float) -> Floats:
    """Return how many of `pages` pages with data, of which it is not known where they lie, each cell holds.

    They lie in the cells' data beside the pages that were seen written, each page of it as likely as any other. Where
    they are more than that, the others lie among the zero pages.

    Parameters
    ----------
    data, zero, seen : array_like
        Pages of each cell: with data and zero at the start, and seen written later, which may have been zero.
    pages : float

    Examples
    --------
    >>> never_seen_pages([4, 2, 0], [0, 2, 4], [0, 2, 0], 2).tolist()
    [2.0, 0.0, 0.0]
    >>> never_seen_pages([4, 2, 0], [0, 2, 4], [0, 2, 0], 7).tolist()
    [4.0, 1.0, 2.0]
    """
    d, z, s = (np.asarray(values, float) for values in (data, zero, seen))
    room = np.maximum(d - s, 0.0)
    if room.sum() >= pages:
        return np.asarray(room * (pages / max(room.sum(), 1e-12)))
    others = z - np.maximum(s - d, 0.0)
    share = (pages - room.sum()) / max(others.sum(), 1e-12)
    return np.asarray(room + others * min(share, 1.0))


def _sums(pages: ArrayLike) -> list[float]:
    sums: list[float] = np.concatenate(([0.0], np.cumsum(np.asarray(pages, float)))).tolist()
    return sums
