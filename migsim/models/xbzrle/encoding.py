"""XBZRLE's encoding of a page: its bytes, its length, its record in the stream and what it costs the sender.

Law
---
The page is cut into alternating runs of equal and of changed bytes, beginning with an equal one (of length 0 where
byte 0 changed). Each changed run i costs::

    u(z_i) + u(n_i) + n_i        u(x) = 1 if x < 128 else 2

for its equal run of z_i and its n_i changed bytes: both lengths as ULEB128, then the new bytes. The last equal run
costs nothing. More than the limit (a page) is an overflow, and so is an equal tail that begins with fewer than two
bytes of room left. With e the encoded length a page costs in the stream::

    e = 0      0               unchanged: no record at all
    fits       8 + 1 + 2 + e   header, encoding flag, length
    overflow   8 + 4096        a normal page

Sender's time: a hit is a comparison and two copies of the page, a miss that is inserted one copy more than a page
sent without XBZRLE, a miss that is refused nothing.

Mirrors: `migration/xbzrle.c` encoder and decoder, QEMU 1.2 to 10.x; `migration/ram.c` save_xbzrle_page.
Leaves out: the name of the block (1 + its length) where it changed; the AVX-512 encoder (8.0 on) lets an encoding of
4095 or 4096 bytes pass where the equal tail is just the last 64 bytes.
Source: the mechanics reference, sections 2.2, 4.1, 4.3 and 4.7; QEMU's docs/xbzrle.txt.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from migsim.errors import ParameterError
from migsim.models.loop.page_stream import NORMAL_PAGE_BYTES
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES

__all__ = [
    "RECORD_BYTES",
    "PageChange",
    "counted_bytes",
    "decode",
    "encode",
    "page_change",
    "record_bytes",
    "xbzrle_length",
    "xbzrle_seconds",
]

Ints = npt.NDArray[np.int64]

RECORD_BYTES = 8 + 1 + 2
"""Bytes of an encoded page's record in the stream, without the encoding."""

_LONGEST_RUN = (1 << 14) - 1  # two bytes of ULEB128


class PageChange(NamedTuple):
    """Changes of n pages: arrays of shape (n,)."""

    changed_bytes: Ints
    runs: Ints
    xbzrle_bytes: Ints


def page_change(old: npt.NDArray[np.uint8], new: npt.NDArray[np.uint8]) -> PageChange:
    """Compare two versions of pages byte by byte.

    Parameters
    ----------
    old, new : ndarray of uint8, shape (n, page bytes)
        The older and the newer contents of the same pages.

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
    # All pages are put into one line of bytes. An equal byte before and after each page keeps their runs apart.
    width = page_bytes + 2
    changed = np.zeros((pages, width), np.bool_)
    np.not_equal(old, new, out=changed[:, 1:-1])
    line = changed.ravel()
    edges = np.flatnonzero(line[1:] != line[:-1])
    begin, end = edges[::2], edges[1::2]
    borders = np.searchsorted(begin, np.arange(pages + 1) * width)
    first = borders[:-1][borders[:-1] < borders[1:]]  # first run of each changed page
    equal, differing = begin.copy(), end - begin
    equal[1:] -= end[:-1]
    equal[first] = begin[first] % width
    length = _sums(differing + 2 + (equal >= 128) + (differing >= 128), borders)
    equal_tail = ~changed[:, -2]
    overflow = (length > page_bytes) | (equal_tail & (length + 2 > page_bytes))
    return PageChange(
        changed_bytes=_sums(differing, borders),
        runs=np.diff(borders),
        xbzrle_bytes=np.where(overflow, -1, length),
    )


def _sums(values: Ints, borders: npt.NDArray[np.intp]) -> Ints:
    """Return the sums of the values from each border to the next, 0 where there is none between."""
    before = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=before[1:])
    return np.diff(before[borders])


def xbzrle_length(old: npt.NDArray[np.uint8], new: npt.NDArray[np.uint8]) -> Ints:
    """Return the encoded length of each page in bytes: 0 unchanged, -1 overflow; shapes as in `page_change`.

    Examples
    --------
    >>> old = np.zeros((1, 4096), np.uint8)
    >>> xbzrle_length(old, old + np.uint8(1))
    array([-1])
    """
    return page_change(old, new).xbzrle_bytes


def encode(old: bytes, new: bytes, limit: int = PAGE_BYTES) -> bytes | None:
    """Encode a page against its previous contents, as QEMU does.

    Parameters
    ----------
    old, new : bytes
        The older and the newer contents, equally long.
    limit : int
        Room for the encoding, in bytes.

    Returns
    -------
    bytes or None
        ``b""`` for an unchanged page, None on overflow.

    Raises
    ------
    ParameterError
        Where the contents differ in length, or are longer than two bytes of ULEB128 can express.

    Examples
    --------
    >>> encode(bytes(4096), bytes(1001) + b"new" + bytes(3092)).hex(" ")
    'e9 07 03 6e 65 77'
    """
    if len(old) != len(new) or len(new) > _LONGEST_RUN:
        raise ParameterError(
            f"The page has {len(old)} bytes before and {len(new)} after.",
            f"XBZRLE compares pages of one length, at most {_LONGEST_RUN} bytes.",
            "Give both contents of one page.",
        )
    changed = np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)
    edges = np.flatnonzero(np.diff(changed, prepend=False, append=False)).tolist()
    out = bytearray()
    # 0, begin, end, begin, end, ...: an equal run, a changed one, and so on
    steps = list(pairwise([0, *edges]))
    for (last_end, begin), (_, end) in zip(steps[::2], steps[1::2], strict=True):
        out += _uleb128(begin - last_end) + _uleb128(end - begin) + new[begin:end]
        if len(out) > limit:
            return None
    equal_tail = not edges or edges[-1] < len(new)
    return None if equal_tail and len(out) + 2 > limit else bytes(out)


def decode(old: bytes, encoded: bytes) -> bytes:
    r"""Apply an encoding to the page's previous contents.

    Raises
    ------
    ParameterError
        Where the encoding is cut short, holds an empty run at a wrong place, or leaves the page.

    Examples
    --------
    >>> decode(b"a page", b"\x02\x01w")
    b'a wage'
    """
    page = bytearray(old)
    at = place = 0
    while at < len(encoded):
        equal, after = _run_length(encoded, at)
        count, begin = _run_length(encoded, after)
        end = begin + count
        place += equal
        if (at and not equal) or not count or end > len(encoded) or place + count > len(page):
            raise _malformed(at)
        page[place : place + count] = encoded[begin:end]
        at, place = end, place + count
    return bytes(page)


def record_bytes(encoded_bytes: npt.ArrayLike) -> Ints:
    """Return the bytes in the stream of pages found in the cache, by encoded length (0 unchanged, -1 overflow).

    Examples
    --------
    >>> record_bytes([0, 24, -1]).tolist()
    [0, 35, 4104]
    """
    length = np.asarray(encoded_bytes, dtype=np.int64)
    record = np.where(length < 0, NORMAL_PAGE_BYTES, RECORD_BYTES + length)
    return np.where(length == 0, 0, record)


def counted_bytes(encoded_bytes: npt.ArrayLike, version: QemuVersion) -> Ints:
    """Return the bytes by which `xbzrle-cache.bytes` grows, by encoded length (0 unchanged, -1 overflow).

    Up to 5.0 it is the whole record, 11 + e, and 0 on overflow. From 5.1 on it is e + 3, and a page on overflow.

    Examples
    --------
    >>> counted_bytes([0, 15, -1], QemuVersion.parse("2.2")).tolist()
    [0, 26, 0]
    >>> counted_bytes([0, 15, -1], QemuVersion.parse("10.0")).tolist()
    [0, 18, 4096]
    """
    length = np.asarray(encoded_bytes, dtype=np.int64)
    late = version >= QemuVersion.parse("5.1")
    counted = np.where(length < 0, PAGE_BYTES if late else 0, length + RECORD_BYTES - (8 if late else 0))
    return np.where(length == 0, 0, counted)


def xbzrle_seconds(
    hits: float, misses: float, xbzrle_hit_s: float, xbzrle_miss_s: float, refused: float = 0.0
) -> float:
    """Return the sender's time that XBZRLE adds to the cost of sending, in seconds.

    Parameters
    ----------
    hits, misses, refused : float
        Pages found in the cache, pages not found, and those of them that were not inserted, which are not copied.
    xbzrle_hit_s, xbzrle_miss_s : float
        Time of a comparison and two copies of the page; time of one copy.

    Examples
    --------
    >>> round(xbzrle_seconds(1000, 500, xbzrle_hit_s=2e-6, xbzrle_miss_s=5e-7, refused=100) * 1e3, 6)
    2.2
    """
    return hits * xbzrle_hit_s + (misses - refused) * xbzrle_miss_s


def _uleb128(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])


def _run_length(encoded: bytes, at: int) -> tuple[int, int]:
    """Return a run's length, and the position after it; at least one byte has to follow."""
    if len(encoded) - at < 2:
        raise _malformed(at)
    low = encoded[at]
    if low < 128:
        return low, at + 1
    if encoded[at + 1] >= 128:
        raise _malformed(at)
    return low & 127 | encoded[at + 1] << 7, at + 2


def _malformed(at: int) -> ParameterError:
    return ParameterError(
        f"Byte {at} of the XBZRLE encoding begins no run that fits.",
        "QEMU's encoding is runs of unchanged and changed bytes, none empty but the first, inside the page.",
        "Check that the encoding is whole and belongs to this page.",
    )
