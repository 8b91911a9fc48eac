r"""Multifd's packets: what goes through its channels, when they wait for each other, and what is counted where.

Law
---
Pages of one RAM block are gathered into packets of up to 512 KiB: 128 pages of 4 KiB. A packet's header has a place
for every page whether it is used or not,

.. math:: h = 320 + 8 \cdot 128 = 1344 \text{ bytes} \qquad
          \text{bytes} = P\,n_{raw} + h\,(n_{packets} + n_{channels}\,n_{waits}) + 64\,n_{channels}

since each channel greets with 64 bytes (counted from 8.1 on), and sends a packet without pages each time that all wait
for each other.

========================  ===================================  ==================================
what                      up to 8.0                            8.1 on
========================  ===================================  ==================================
channels wait             setup, every iterate call, the end   setup, every circle over RAM, up to
                                                               9.2 the end (8.1: 8 bytes beside)
bytes count for a window  when handed to a channel             when the channel has written them
a window carries          the packets that exceed its quota    as many, and up to one more a channel
a thread that waits for   keeps a processor busy               sleeps
a free channel
========================  ===================================  ==================================

A machine type keeps its release's rules on newer ones, so that an older QEMU understands the stream: with one of 8.0 or
older the channels wait as up to 8.0 (without the 8 bytes), with one of 8.2 or older `zero-page-detection` is ``legacy``
unless it is set.

`transferred` holds what the channels sent, as `multifd-bytes` does; `precopy-bytes` and `downtime-bytes` hold the main
channel's part only.

A zero page is found by the migration thread and goes through the main channel in 9 bytes up to 8.2 and with
`zero-page-detection` ``legacy``; with ``multifd`` (default from 9.0 on) a channel finds it, and it takes a place in the
packet, no more; with ``none`` it is sent like any other, and counted as `normal`, with multifd or without.

Every function takes numbers or arrays alike; `multifd_rules` and `zero_page_detection` say once for a scenario what
its release does. A batch needs of each scenario `MultifdRules`, the channels and the detection, and of each page kind
`page_bytes` and the time of `migsim.models.multifd.threads`.

Mirrors: `migration/multifd.c`, `multifd-nocomp.c`, `multifd-zero-page.c`, `ram.c` (7.2, 10.0); `hw/core/machine.c`
hw_compat_8_0, hw_compat_8_2.
Leaves out: packets that a change of block ends early; postcopy, mapped-ram, TLS; `zero-copy-send`'s flushes;
compression, whose ratio hangs on the guest's data, which no trace holds.
Source: the mechanics reference, sections 1.3, 2.2 and 7.1; windows, waits and counters checked on live 7.2 and 10.0.
10.0's bytes are exact. Up to 7.2 the migration thread reads the array of pages again after it handed it to a channel:
where the channel was faster, the last page is queued a second time and counted once, and of a packet's 128 places 127
to 128 hold pages that count. A channel that has to be woken on another processor is never that fast: guests of 16 GiB
to 4 TiB on a large host sent no page twice (7.1, published in 2022). Where processors are short it may take the
migration thread's, and how often is the scheduler's: the middle is taken, 127.5, wrong by 0.4 % at most (live 7.2.22
on two processors: 0.3 to 0.8 % more bytes than without, the waits' included). Fixed in 8.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim.errors import ParameterError
from migsim.models.loop.page_stream import ZERO_PAGE_BYTES
from migsim.qapi import QemuVersion, defaults
from migsim.units import PAGE_BYTES

__all__ = [
    "FLUSH_BYTES",
    "GREETING_BYTES",
    "PACKET_BYTES",
    "PACKET_PAGES",
    "MultifdRules",
    "ZeroPages",
    "check_multifd",
    "counted_bytes",
    "counted_pages",
    "multifd_rules",
    "multifd_window_pages",
    "page_bytes",
    "share_left",
    "wait_bytes",
    "whole_packets",
    "zero_page_detection",
]

Floats = NDArray[np.float64]
ZeroPages = Literal["legacy", "multifd", "none"]

PACKET_PAGES = 512 * 1024 // PAGE_BYTES
"""Pages of a full packet."""

PACKET_BYTES = 320 + 8 * PACKET_PAGES
"""Bytes of a packet's header, which has a place for each page."""

GREETING_BYTES = 64
"""Bytes of a channel's first message, which names the channel."""

FLUSH_BYTES = 8
"""Bytes of the main channel's record that the channels wait for each other (8.1 on)."""


SECTION_MACHINE, LEGACY_MACHINE = QemuVersion(8, 0), QemuVersion(8, 2)
"""The last machine types with `multifd-flush-after-each-section`, and with `zero-page-detection` ``legacy``."""


@dataclass(frozen=True, slots=True)
class MultifdRules:
    """The differences between QEMU releases in multifd.

    Attributes
    ----------
    waits_every : {"section", "round"}
        Whether channels wait for each other at the end of each iterate call (up to 8.0) or of each circle over RAM.
    waits_at_end : bool
        Whether they also wait when the last pages are sent (up to 9.2).
    spins : bool
        Whether the migration thread keeps a processor busy while it waits for a free channel (up to 8.0).
    charged_at : {"enqueue", "write"}
        Whether a packet counts against the window when a channel gets it, or when the channel has written it.
    greeting_bytes : int
        Bytes counted for a channel's first message: none up to 8.0.
    short_places_a_page : float
        Places of packets that a page takes where processors are short: more than one where some are queued twice (up
        to 7.2).
    """

    waits_every: Literal["section", "round"]
    waits_at_end: bool
    spins: bool
    charged_at: Literal["enqueue", "write"]

    greeting_bytes: int
    short_places_a_page: float

    @property
    def main_bytes_a_wait(self) -> int:
        """Bytes of a wait on the main channel."""
        return FLUSH_BYTES if self.waits_every == "round" else 0


@lru_cache(maxsize=64)
def multifd_rules(version: QemuVersion | str, machine: QemuVersion | None = None) -> MultifdRules:
    """Return the rules of a QEMU release, with a machine type of release `machine`; by default of its own.

    Raises
    ------
    ParameterError
        For a release before 4.0.

    Examples
    --------
    >>> multifd_rules("7.2").waits_every, multifd_rules("10.0").waits_every
    ('section', 'round')
    >>> multifd_rules("10.0", QemuVersion(8, 0)).waits_every
    'section'
    """
    release = QemuVersion.parse(version)
    if release < QemuVersion(4, 0):
        raise ParameterError(
            f"multifd is asked for with QEMU {release}.",
            "It was experimental before 4.0, and what its packets held then is not known.",
            "Choose 4.0 or later, or leave multifd off.",
        )
    modern = release >= QemuVersion(8, 1)
    return MultifdRules(
        waits_every="round" if modern and not _is_older(machine, SECTION_MACHINE) else "section",
        waits_at_end=release < QemuVersion(10, 0),
        spins=not modern,
        charged_at="write" if modern else "enqueue",
        greeting_bytes=GREETING_BYTES if modern else 0,
        short_places_a_page=1.0 if release >= QemuVersion(8, 0) else PACKET_PAGES / (PACKET_PAGES - 0.5),
    )


def _is_older(machine: QemuVersion | None, last: QemuVersion) -> bool:
    """Whether a machine type is of release `last` or an older one."""
    return machine is not None and machine <= last


def zero_page_detection(
    parameters: Mapping[str, Any],
    version: QemuVersion | str,
    *,
    machine: QemuVersion | None = None,
    multifd: bool = True,
) -> ZeroPages:
    """Return who looks for zero pages: as the parameter says, and before 9.0 the migration thread.

    Where the parameter is not set, a machine type of 8.2 or older (its release is `machine`) has the migration thread
    look for them on newer releases too.

    Without channels the migration thread looks for them where the parameter says that the channels do; with ``none``
    nobody does, multifd or not.

    Examples
    --------
    >>> zero_page_detection({}, "7.2"), zero_page_detection({}, "10.0")
    ('legacy', 'multifd')
    >>> [zero_page_detection({"zero-page-detection": who}, "10.0", multifd=False) for who in ("multifd", "none")]
    ['legacy', 'none']
    >>> zero_page_detection({}, "10.0", machine=QemuVersion(8, 2))
    'legacy'
    """
    default = defaults(version).get("zero-page-detection", "legacy")
    if _is_older(machine, LEGACY_MACHINE):
        default = "legacy"
    detection: ZeroPages = parameters.get("zero-page-detection", default)
    return "legacy" if detection == "multifd" and not multifd else detection


def check_multifd(
    capabilities: Mapping[str, bool], parameters: Mapping[str, Any], version: QemuVersion | str
) -> None:
    """Raise ParameterError for settings that QEMU refuses or ignores with multifd, or that no law describes.

    Raises
    ------
    ParameterError

    Examples
    --------
    >>> check_multifd({"multifd": True}, {"multifd-channels": 4}, "10.0")
    >>> check_multifd({"multifd": True, "xbzrle": True}, {}, "7.2")
    Traceback (most recent call last):
    migsim.errors.ParameterError: multifd and xbzrle are both on. ...
    """
    if not capabilities.get("multifd"):
        return
    multifd_rules(version)
    for other in ("xbzrle", "compress"):
        if capabilities.get(other):
            raise ParameterError(
                f"multifd and {other} are both on.",
                f"{other} acts on pages of the main channel, which then carries none: newer releases refuse the pair, "
                f"and QEMU {version} takes it without effect.",
                "Switch one of them off.",
            )
    compression = parameters.get("multifd-compression", "none")
    if compression != "none":
        raise ParameterError(
            f"multifd-compression is {compression!r}.",
            "How far pages shrink depends on their contents, which a trace does not hold: no prediction can be made.",
            "Predict without it: its times are an upper bound where the network is the limit.",
        )
    if capabilities.get("zero-copy-send"):
        raise ParameterError(
            "zero-copy-send is on.",
            "Its saving was measured on no host: the host profile has no term for it.",
            "Predict without it: its times are an upper bound.",
        )


def whole_packets(pages: Floats | float) -> Floats:
    """Return the number of packets for some pages of one block; the last packet may be filled in part.

    Examples
    --------
    >>> whole_packets(np.array([0, 1, 128, 129])).tolist()
    [0.0, 1.0, 1.0, 2.0]
    """
    count: Floats = np.ceil(pages / PACKET_PAGES)
    return count


def counted_pages(raw: float, zero: float, zero_pages: ZeroPages) -> tuple[float, float]:
    """Return the pages sent whole, and the pages with a place in a packet, of `raw` non-zero and `zero` zero pages.

    Examples
    --------
    >>> [counted_pages(10.0, 4.0, who) for who in ("legacy", "multifd", "none")]
    [(10.0, 10.0), (10.0, 14.0), (14.0, 14.0)]
    """
    return raw + (zero if zero_pages == "none" else 0.0), raw + (0.0 if zero_pages == "legacy" else zero)


def counted_bytes(whole: float, through: float) -> float:
    """Return the channels' bytes of pages sent whole and of places in packets.

    Examples
    --------
    >>> counted_bytes(1.0, 2.0)
    4117.0
    """
    return whole * PAGE_BYTES + through * (PACKET_BYTES / PACKET_PAGES)


def wait_bytes(queued_pages: float, channels: float) -> float:
    """Return the channels' bytes of one wait for each other.

    The last packet has a whole header though it may use only some places, and each channel sends a packet without
    pages.

    Examples
    --------
    >>> float(wait_bytes(64.0, 2.0))
    3360.0
    """
    partly = whole_packets(queued_pages) - queued_pages / PACKET_PAGES
    return float(PACKET_BYTES * (partly + channels))


def share_left(lost_s: float, window_s: float) -> float:
    """Return the share of a window in which the guest had its processors, from the time that it lost.

    Examples
    --------
    >>> share_left(0.025, 0.1), share_left(0.2, 0.1)
    (0.75, 0.0)
    """
    return 1 - min(lost_s / window_s, 1.0)


def page_bytes(zero_pages: ZeroPages) -> tuple[float, float]:
    """Return the bytes of a raw and of a zero page in full packets, with their part of the header.

    Examples
    --------
    >>> page_bytes("legacy"), page_bytes("multifd")
    ((4106.5, 9.0), (4106.5, 10.5))
    """
    place = PACKET_BYTES / PACKET_PAGES
    zero = {"legacy": float(ZERO_PAGE_BYTES), "multifd": place, "none": PAGE_BYTES + place}
    return PAGE_BYTES + place, zero[zero_pages]


def multifd_window_pages(
    quota_bytes: ArrayLike,
    channels: ArrayLike,
    charged_at: Literal["enqueue", "write"],
    *,
    in_flight: ArrayLike = 1.0,
) -> Floats:
    """Return the raw pages that a rate-limited window carries through the channels.

    The thread stops at the first check that finds more than the quota. Packets that the channels have by then and have
    not written go in the same window. Where packets count when a channel gets them, there are none of these.

    Parameters
    ----------
    quota_bytes : array_like
    channels : array_like
    charged_at : {"enqueue", "write"}
    in_flight : array_like
        Share of the channels that have such a packet: all, where each has a processor. Where processors are short, the
        scheduler decides: with four channels on two processors, measured windows carried from none to all.

    Examples
    --------
    >>> multifd_window_pages(25e6, [1, 2, 4], "write").tolist()  # 49, 50 and 52 packets
    [6272.0, 6400.0, 6656.0]
    >>> float(multifd_window_pages(25e6, 2, "enqueue"))
    6144.0
    """
    full = PAGE_BYTES * PACKET_PAGES + PACKET_BYTES
    within = np.floor(np.asarray(quota_bytes, float) / full) + 1
    if charged_at == "write":
        within = within + np.asarray(channels, float) * np.asarray(in_flight, float)
    return np.asarray(within * PACKET_PAGES)
