r"""How often a byte of guest memory is copied on its way, and what one thread can send at most.

Law
---
======================================  ======================================  =============  ===================
release and path                        on the source                           copies there   on the destination
======================================  ======================================  =============  ===================
1.2                                     stream buffer, kernel                   2              2
1.2 over the limit or frozen; 1.3, 1.4  stream buffer, staging, kernel          3              2
1.5 on                                  kernel (`writev`)                       1              2
XBZRLE, page sent whole or as a delta   cache, stream buffer, kernel            3              2
multifd                                 kernel                                  1              1
multifd with `zero-copy-send` (7.1 on)  none                                    0              1
RDMA                                    none                                    0              0
======================================  ======================================  =============  ===================

Postcopy adds one on the destination, where the page is put in place atomically.

One thread does all of it in turn, so its parts add up in time and the rate is their harmonic combination:

.. math:: r = \frac{P}{t_{test} + \sum_{copies} t_{copy} + t_{send}} = \frac{1}{1/r_{produce} + 1/B_{sock}}

with :math:`r_{produce}` the uniform-page test and the copies into user memory, and :math:`B_{sock}` what the kernel
takes. On machines of 2012, 0.6 to 1 and 0.7 to 1 GB/s: about 3 Gbit/s.

Mirrors: `savevm.c`, `buffered_file.c` (1.2 to 1.4), `migration/qemu-file.c`, `migration/multifd.c`.
Leaves out: the memmove of what a flush leaves in the staging buffer; a part of a delta's three copies is short.
Source: the mechanics reference, sections 6.2 and 6.3; costs come from a preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from migsim.errors import ParameterError
from migsim.models.dirty.bitmap import tree_release
from migsim.qapi import QemuVersion
from migsim.units import PAGE_BYTES

__all__ = ["Ceiling", "CopyPath", "copy_path", "one_thread_ceiling"]

Transport = Literal["stream", "multifd", "rdma"]

COPY_COSTS = {
    "staging": "staging_copy_s_per_page",
    "kernel": "kernel_send_s_per_page",
    "cache": "copy_s_per_page",
}
"""Name of a copy's cost, by where the copy goes. A copy to the stream buffer costs like the buffer after it."""


@dataclass(frozen=True, slots=True)
class CopyPath:
    """The places that each byte of a page is copied to, in order.

    Attributes
    ----------
    source, destination : tuple of str
        Of ``"cache"``, ``"stream-buffer"``, ``"staging"``, ``"kernel"``; on the destination also ``"guest"`` and
        ``"placement"``.
    """

    source: tuple[str, ...]
    destination: tuple[str, ...]

    @property
    def copies(self) -> tuple[int, int]:
        """Number of copies on the source and on the destination."""
        return len(self.source), len(self.destination)


def copy_path(
    version: QemuVersion | str,
    *,
    transport: Transport = "stream",
    staged: bool = False,
    xbzrle: bool = False,
    zero_copy: bool = False,
    postcopy: bool = False,
) -> CopyPath:
    """Return where a page's bytes are copied to.

    Parameters
    ----------
    version : QemuVersion or str
    transport : {"stream", "multifd", "rdma"}
    staged : bool
        Whether the stream is over its limit or frozen (1.2 only).
    xbzrle, zero_copy, postcopy : bool
        The capabilities.

    Raises
    ------
    ParameterError
        For a capability that the release lacks, or a pair that QEMU refuses.

    Examples
    --------
    >>> [copy_path(v).copies for v in ("1.2", "1.2.50", "1.5")]
    [(2, 2), (3, 2), (1, 2)]
    >>> copy_path("10.0", transport="multifd", zero_copy=True).copies
    (0, 1)
    """
    release = tree_release(version)
    _check(release, transport, xbzrle, zero_copy)
    after = ("placement",) if postcopy else ()
    if transport == "rdma":
        return CopyPath((), after)
    if transport == "multifd":
        return CopyPath(() if zero_copy else ("kernel",), ("guest", *after))
    if release >= QemuVersion(1, 5):
        source: tuple[str, ...] = ("cache", "stream-buffer", "kernel") if xbzrle else ("kernel",)
    else:
        always = release >= QemuVersion(1, 3)
        source = ("stream-buffer", "staging", "kernel") if always or staged else ("stream-buffer", "kernel")
        source = ("cache", *source) if xbzrle else source
    return CopyPath(source, ("stream-buffer", "guest", *after))


def _check(release: QemuVersion, transport: Transport, xbzrle: bool, zero_copy: bool) -> None:
    since = {
        "stream": QemuVersion(1, 2),
        "rdma": QemuVersion(1, 6),
        "multifd": QemuVersion(2, 11),
    }
    if transport not in since or release < since[transport]:
        raise ParameterError(
            f"The transport is {transport!r} with QEMU {release}.",
            "Transports are stream, rdma (1.6 on) and multifd (2.11 on).",
            "Choose one that the release has.",
        )
    if zero_copy and (transport != "multifd" or release < QemuVersion(7, 1)):
        raise ParameterError(
            f"zero-copy-send is on with {transport} and QEMU {release}.",
            "QEMU has it for multifd, from 7.1 on.",
            "Turn multifd on, or zero-copy-send off.",
        )
    if xbzrle and transport != "stream":
        raise ParameterError(
            f"xbzrle is on with {transport}.",
            "XBZRLE encodes pages of the main channel.",
            "Turn one of them off.",
        )


@dataclass(frozen=True)
class Ceiling:
    """The most that one thread can send.

    Attributes
    ----------
    parts_s : dict of str to float
        Time of one page's parts, in the order in which they happen.
    """

    parts_s: dict[str, float]

    @property
    def page_s(self) -> float:
        """Time of one page."""
        return sum(self.parts_s.values())

    @property
    def bytes_per_s(self) -> float:
        """Guest memory a second."""
        return PAGE_BYTES / self.page_s

    @property
    def gbit_per_s(self) -> float:
        """Guest memory in Gbit/s."""
        return self.bytes_per_s * 8e-9

    @property
    def produce_s(self) -> float:
        """Time of one page without the kernel's part."""
        return self.page_s - self.parts_s.get("kernel", 0.0)

    @property
    def produce_bytes_per_s(self) -> float:
        """Guest memory a second that reaches user memory."""
        return PAGE_BYTES / self.produce_s

    @property
    def send_bytes_per_s(self) -> float:
        """Guest memory a second that the kernel takes; infinite where it copies nothing."""
        kernel = self.parts_s.get("kernel", 0.0)
        return PAGE_BYTES / kernel if kernel else float("inf")


def one_thread_ceiling(path: CopyPath, costs: Mapping[str, float]) -> Ceiling:
    """Compute the most that one thread can send along a path.

    Parameters
    ----------
    path : CopyPath
    costs : mapping of str to float
        ``uniform_test_s_per_page`` and the costs of the copies: ``staging_copy_s_per_page``,
        ``kernel_send_s_per_page``, ``copy_s_per_page``.

    Examples
    --------
    >>> from migsim.profiles.published import cost_preset
    >>> old = cost_preset("era-2012")
    >>> [round(one_thread_ceiling(copy_path("1.4"), old.at(end)).gbit_per_s, 1) for end in ("high", "value", "low")]
    [2.6, 3.3, 4.2]
    >>> round(one_thread_ceiling(copy_path("1.5"), old.at()).gbit_per_s, 1)
    6.5
    """
    parts = {"test": costs["uniform_test_s_per_page"]}
    # The stream buffer itself stays in cache; a staging buffer of tens of MB drives the page out of it.
    buffer = COPY_COSTS["staging" if "staging" in path.source else "cache"]
    for where in path.source:
        parts[where] = costs[COPY_COSTS.get(where, buffer)]
    return Ceiling(parts)
