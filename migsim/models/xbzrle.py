"""How long XBZRLE would encode a page, from its previous and its new contents.

Law (QEMU 1.2 to 10.x, `migration/xbzrle.c`): the page is cut into alternating runs of equal and of changed
bytes, beginning with an equal one (of length 0 where byte 0 changed); each changed run i costs

    u(z_i) + u(n_i) + n_i        u(x) = 1 if x < 128 else 2

for its equal run of z_i and its n_i changed bytes; the last equal run costs nothing. More than a page is an
overflow, and so is an equal tail that begins with fewer than two bytes of room left. Left out: nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["PageChange", "page_change", "xbzrle_length"]


class PageChange(NamedTuple):
    """How n pages changed: arrays of shape (n,)."""

    changed_bytes: npt.NDArray[np.int64]
    runs: npt.NDArray[np.int64]
    xbzrle_bytes: npt.NDArray[np.int64]


def page_change(old: npt.NDArray[np.uint8], new: npt.NDArray[np.uint8]) -> PageChange:
    """Compare pages byte by byte.

    Parameters
    ----------
    old, new : ndarray of uint8, shape (n, page bytes)
        The same pages before and after.

    Returns
    -------
    PageChange
        Bytes that differ, runs of differing bytes, and XBZRLE's encoded length (0 unchanged, -1 overflow).

    Examples
    --------
    >>> old = np.zeros((1, 4096), np.uint8)
    >>> new = old.copy()
    >>> new[0, 1000:1008] = 7
    >>> page_change(old, new)
    PageChange(changed_bytes=array([8]), runs=array([1]), xbzrle_bytes=array([11]))
    """
    pages, page_bytes = new.shape
    edges = np.zeros((pages, page_bytes + 1), np.int8)
    changed = (old != new).view(np.int8)
    edges[:, :page_bytes] = changed
    edges[:, 1:] -= changed
    # Row-major order keeps the runs of a page together and ascending; +1 begins a run, -1 ends it.
    row, begin = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    previous_end = np.zeros_like(end)
    same_page = row[1:] == row[:-1]
    previous_end[1:][same_page] = end[:-1][same_page]
    equal, differing = begin - previous_end, end - begin
    cost = differing + 2 + (equal >= 128) + (differing >= 128)
    length = np.bincount(row, weights=cost, minlength=pages).astype(np.int64)
    equal_tail = changed[:, -1] == 0
    overflow = (length > page_bytes) | (equal_tail & (length + 2 > page_bytes))
    return PageChange(
        changed_bytes=np.bincount(row, weights=differing, minlength=pages).astype(np.int64),
        runs=np.bincount(row, minlength=pages).astype(np.int64),
        xbzrle_bytes=np.where(overflow, -1, length),
    )


def xbzrle_length(old: npt.NDArray[np.uint8], new: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Encoded length of each page in bytes: 0 unchanged, -1 overflow; shapes as `page_change`.

    Examples
    --------
    >>> old = np.zeros((1, 4096), np.uint8)
    >>> xbzrle_length(old, old + np.uint8(1))
    array([-1])
    """
    return page_change(old, new).xbzrle_bytes
