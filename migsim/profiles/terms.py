"""The table of a host profile's terms: meaning, unit, the mechanism that needs it, and the probe that measures it.

Models, studies and reports read this one table. The probes are in `migsim.calibrate.host`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "BURST_TERMS",
    "HOST_TERMS",
    "MULTIFD_TERMS",
    "MULTIFD_ZERO_TERMS",
    "RING_TERMS",
    "SLICE_TERMS",
    "TERMS",
    "XBZRLE_TERMS",
    "HostTerm",
    "Mechanism",
]

Mechanism = Literal["precopy", "xbzrle", "auto-converge", "dirty-limit", "multifd", "multifd-zero-pages"]


@dataclass(frozen=True, slots=True)
class HostTerm:
    """The description of one term.

    Attributes
    ----------
    unit : str
        Unit of the median.
    meaning : str
        What the term costs, in a few words.
    probe : str
        The probe migrations that measure the term.
    needed_with : {"precopy", "xbzrle", "auto-converge", "dirty-limit", "multifd", "multifd-zero-pages"}
        The mechanism that needs the term. Every migration needs the terms of precopy; multifd-zero-pages is multifd
        whose channels look for zero pages.
    optional : bool
        Whether a profile may lack it; the cost is then left out.
    """

    unit: str
    meaning: str
    probe: str
    needed_with: Mechanism = "precopy"
    optional: bool = False


_EMPTY = "empty guests of two sizes"
_FULL = "a guest full of data, no limit: the destination finds memory for each page"
_COLD = "three views of one file of 4 GiB, no limit: the destination's memory is there, no cache holds it"
_HOT = "a hot set sent again and again, no limit: the destination's pages are there"
_LIMITED = "a hot set under a limit"
_TWO_LIMITS = "a hot set at two limits"
_EVERY = "every probe that completed"
_XBZRLE = "a hot set under XBZRLE, no limit: rounds of hits and of misses, solved together"
_SLICES = "a guest that works in slices between the throttle's sleeps (`migsim calibrate guest`)"
_MULTIFD = "guests full of data and hot sets, over one to four channels (`migsim calibrate multifd`)"

TERMS: dict[str, HostTerm] = {
    "connect_s": HostTerm("s", "QMP command to the start of setup", _EVERY),
    "setup_base_s": HostTerm("s", "setup: fixed part", _EMPTY),
    "setup_s_per_gib": HostTerm("s/GiB", "setup: a GiB of RAM (bitmaps, log start, first sync)", _EMPTY),
    "sync_base_s": HostTerm("s", "bitmap sync: fixed part", _EMPTY),
    "sync_s_per_gib": HostTerm("s/GiB", "bitmap sync: a GiB of RAM", _EMPTY),
    "zero_page_s": HostTerm("s/page", "finding and recording a zero page", _EMPTY),
    "normal_page_s": HostTerm("s/page", "sending a page again, limiter off, guest running", _HOT),
    "cold_page_s": HostTerm(
        "s/page",
        "the same for a page sent for the first time: in no cache, its memory there on the destination",
        _COLD,
    ),
    "fresh_page_s": HostTerm(
        "s/page", "the same for a page whose memory the destination has yet to find", _FULL
    ),
    "burst_page_s": HostTerm("s/page", "sending a page again in the blackout", _LIMITED),
    "burst_cold_page_s": HostTerm(
        "s/page",
        "the same for a page sent for the first time, its memory there on the destination",
        _COLD,
    ),
    "burst_fresh_page_s": HostTerm(
        "s/page", "the same for a page that the destination has yet to find memory for", _FULL
    ),
    "window_overhead_s": HostTerm("s", "waking up late after a window's sleep", _TWO_LIMITS),
    "window_overhead_s_per_gib_per_s": HostTerm(
        "s/(GiB/s)", "the same, for each GiB/s of max-bandwidth", _TWO_LIMITS
    ),
    "switch_gap_s": HostTerm("s", "from the exact sync to the downtime clock's start", _EVERY),
    "stop_s": HostTerm("s", "from the downtime clock's start to the vCPUs standing still", _EVERY),
    "device_state_s": HostTerm("s", "device state, description and the end of the stream", _EVERY),
    "load_s": HostTerm("s", "from the source's end to the guest running on the destination", _EVERY),
    "dirty_fault_s": HostTerm(
        "s/page",
        "guest time lost at the first write to a protected page",
        "the guest's own count of its writes, with and without first writes (`migsim calibrate guest`)",
    ),
    "device_state_bytes": HostTerm("bytes", "device state and description in the stream", _EVERY),
    "guest_speed": HostTerm(
        "relative",
        "speed of the guest relative to that of another run",
        "how much the busy guest's own speed differs from run to run",
    ),
    "xbzrle_hit_s": HostTerm("s/page", "finding a page in XBZRLE's cache and encoding it", _XBZRLE, "xbzrle"),
    "xbzrle_miss_s": HostTerm("s/page", "putting a page into XBZRLE's cache", _XBZRLE, "xbzrle"),
    "slice_lost_s": HostTerm(
        "s",
        "work that a throttled vCPU's slice of 10 ms lacks after a long sleep",
        _SLICES,
        "auto-converge",
        optional=True,
    ),
    "slice_cools_s": HostTerm(
        "s", "the sleep after which 63 % of that is lacking", _SLICES, "auto-converge", optional=True
    ),
    "ring_entries_per_write": HostTerm(
        "entries/write",
        "entries of the dirty ring for each write; 1 and less where only first writes fill it",
        "a limited guest with a dirty ring: the peak rate that dirty-limit saw over the guest's own writes",
        "dirty-limit",
    ),
    "multifd_cpus": HostTerm(
        "processors",
        "processors that the guest and multifd's threads share",
        "counted on the host",
        "multifd",
    ),
    "multifd_queue_page_s": HostTerm(
        "s/page", "processor time of a page in the migration thread, with multifd", _MULTIFD, "multifd"
    ),
    "multifd_queue_wait_s": HostTerm(
        "s/packet",
        "a packet's wait until the migration thread is woken by a free channel",
        _MULTIFD,
        "multifd",
    ),
    "multifd_channel_wait_s": HostTerm(
        "s/packet", "a packet's wait until a channel's two ends have woken each other", _MULTIFD, "multifd"
    ),
    "multifd_send_normal_page_s": HostTerm(
        "s/page", "processor time of a page in a channel that sends a page again", _MULTIFD, "multifd"
    ),
    "multifd_send_cold_page_s": HostTerm(
        "s/page",
        "the same for a page sent for the first time, its memory there on the destination",
        _MULTIFD,
        "multifd",
    ),
    "multifd_send_fresh_page_s": HostTerm(
        "s/page", "the same for a page that the destination has yet to find memory for", _MULTIFD, "multifd"
    ),
    "multifd_receive_normal_page_s": HostTerm(
        "s/page", "the same on the destination, for a page sent again", _MULTIFD, "multifd"
    ),
    "multifd_receive_cold_page_s": HostTerm(
        "s/page", "the same for a page sent for the first time, its memory there", _MULTIFD, "multifd"
    ),
    "multifd_receive_fresh_page_s": HostTerm(
        "s/page", "the same for a page whose memory has yet to be found", _MULTIFD, "multifd"
    ),
    "multifd_send_zero_page_s": HostTerm(
        "s/page", "processor time of a channel that finds a page zero", _MULTIFD, "multifd-zero-pages"
    ),
    "multifd_receive_zero_page_s": HostTerm(
        "s/page", "the same on the destination", _MULTIFD, "multifd-zero-pages"
    ),
}
"""Every term that the models use, by name."""


def _needed_with(mechanism: Mechanism) -> tuple[str, ...]:
    return tuple(name for name, term in TERMS.items() if term.needed_with == mechanism)


HOST_TERMS = _needed_with("precopy")
"""Names of the terms that every migration needs."""
XBZRLE_TERMS = _needed_with("xbzrle")
"""Names of the further terms that XBZRLE needs."""
SLICE_TERMS = _needed_with("auto-converge")
"""Names of the further terms that auto-converge needs."""
RING_TERMS = _needed_with("dirty-limit")
"""Names of the further terms that dirty-limit needs."""
MULTIFD_TERMS = _needed_with("multifd")
"""Names of the further terms that multifd needs."""
MULTIFD_ZERO_TERMS = _needed_with("multifd-zero-pages")
"""Names of the further terms that multifd needs where its channels look for zero pages."""
BURST_TERMS = ("burst_page_s", "burst_cold_page_s", "burst_fresh_page_s")
"""Names of the terms that hang on whether both sides share cores: of pages that one side sends while the other receives
them, and nothing else works."""
