"""What a simulation starts from: `SimulationInput`, and the host terms that each mechanism needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migsim.errors import ParameterError
from migsim.models.dirty.log import protect_window
from migsim.models.dirty.ring import ring_fill_pages
from migsim.models.loop.behaviour import Behaviour, behaviour_of
from migsim.qapi import QemuVersion, defaults
from migsim.workload import Workload

__all__ = [
    "HOST_TERMS",
    "MULTIFD_TERMS",
    "MULTIFD_ZERO_TERMS",
    "RING_TERMS",
    "XBZRLE_TERMS",
    "SimulationInput",
    "check_ring",
    "needed_terms",
]

HOST_TERMS: dict[str, str] = {
    "connect_s": "QMP command to the start of setup",
    "setup_base_s": "setup: fixed part",
    "setup_s_per_gib": "setup: a GiB of RAM (bitmaps, log start, first sync)",
    "sync_base_s": "bitmap sync: fixed part",
    "sync_s_per_gib": "bitmap sync: a GiB of RAM",
    "zero_page_s": "finding and recording a zero page",
    "normal_page_s": "sending a page again, limiter off, guest running",
    "cold_page_s": "the same for a page sent for the first time: in no cache, its memory there on the destination",
    "fresh_page_s": "the same for a page whose memory the destination has yet to find",
    "burst_page_s": "sending a page again in the blackout",
    "burst_cold_page_s": "the same for a page sent for the first time, its memory there on the destination",
    "burst_fresh_page_s": "the same for a page that the destination has yet to find memory for",
    "window_overhead_s": "waking up late after a window's sleep",
    "window_overhead_s_per_gib_per_s": "the same, for each GiB/s of max-bandwidth",
    "switch_gap_s": "from the exact sync to the downtime clock's start",
    "stop_s": "from the downtime clock's start to the vCPUs standing still",
    "device_state_s": "device state, description and the end of the stream",
    "load_s": "from the source's end to the guest running on the destination",
    "dirty_fault_s": "guest time lost at the first write to a protected page",
    "device_state_bytes": "device state and description in the stream",
    "guest_speed": "speed of the guest relative to that of another run",
}
"""Host terms that every migration needs, by name; a `HostProfile` has to hold them."""

XBZRLE_TERMS: dict[str, str] = {
    "xbzrle_hit_s": "finding a page in XBZRLE's cache and encoding it",
    "xbzrle_miss_s": "putting a page into XBZRLE's cache",
}
"""Further host terms with capability xbzrle."""

RING_TERMS: dict[str, str] = {
    "ring_entries_per_write": "entries of the dirty ring for each write; 1 and less where only first writes fill it",
}
"""Further host terms with capability dirty-limit."""

MULTIFD_TERMS: dict[str, str] = {
    "multifd_cpus": "processors that the guest and multifd's threads share",
    "multifd_queue_page_s": "processor time of a page in the migration thread, with multifd",
    "multifd_queue_wait_s": "a packet's wait until the migration thread is woken by a free channel",
    "multifd_channel_wait_s": "a packet's wait until a channel's two ends have woken each other",
    "multifd_send_normal_page_s": "processor time of a page in a channel that sends a page again",
    "multifd_send_cold_page_s": "the same for a page sent for the first time, its memory there on the destination",
    "multifd_send_fresh_page_s": "the same for a page that the destination has yet to find memory for",
    "multifd_receive_normal_page_s": "the same on the destination, for a page sent again",
    "multifd_receive_cold_page_s": "the same for a page sent for the first time, its memory there",
    "multifd_receive_fresh_page_s": "the same for a page whose memory has yet to be found",
}
"""Further host terms with capability multifd; `migsim calibrate multifd` measures them."""

MULTIFD_ZERO_TERMS: dict[str, str] = {
    "multifd_send_zero_page_s": "processor time of a channel that finds a page zero",
    "multifd_receive_zero_page_s": "the same on the destination",
}
"""Further host terms where multifd's channels look for zero pages."""


def needed_terms(capabilities: Mapping[str, bool], *, zero_pages: str = "legacy") -> tuple[str, ...]:
    """Return the names of the host terms that a migration with these capabilities needs.

    Parameters
    ----------
    capabilities : mapping of str to bool
    zero_pages : str
        Who looks for zero pages with multifd (see `migsim.models.multifd.packets.zero_page_detection`).
    """
    xbzrle = XBZRLE_TERMS if capabilities.get("xbzrle") else {}
    ring = RING_TERMS if capabilities.get("dirty-limit") else {}
    multifd = MULTIFD_TERMS if capabilities.get("multifd") else {}
    zero = MULTIFD_ZERO_TERMS if multifd and zero_pages == "multifd" else {}
    return (*HOST_TERMS, *xbzrle, *ring, *multifd, *zero)


def check_ring(capabilities: Mapping[str, bool], dirty_ring_size: int) -> None:
    """Refuse dirty-limit without a dirty ring, and a ring of a size that KVM would refuse.

    Raises
    ------
    ParameterError
    """
    if dirty_ring_size:
        ring_fill_pages(dirty_ring_size)
    elif capabilities.get("dirty-limit"):
        raise ParameterError(
            "dirty-limit is on and the guest has no dirty ring.",
            "QEMU limits vCPUs by their full rings: it needs KVM with dirty-ring-size.",
            "Say how large the ring is (--dirty-ring-size 4096), or use auto-converge.",
        )


@dataclass(frozen=True)
class SimulationInput:
    """One migration to simulate.

    Attributes
    ----------
    workload : Workload
        The guest's memory, and how it writes to it.
    terms : mapping of str to float
        Host terms, see `HOST_TERMS`.
    version : QemuVersion
    parameters, capabilities : mapping
        Migration settings in QAPI's names and units; an absent one has the version's default.
    accel : {"kvm", "tcg"}
    dirty_ring_size : int
        Entries of KVM's dirty ring, for each vCPU; 0: KVM uses the dirty bitmap.
    vcpus : int
        Number of vCPUs; all write at the same rate.
    link_bytes_per_s : float, optional
        What the network carries; None: the CPUs are the limit.
    deadline_s : float
        When the migration is given up.
    fresh_pages : int, optional
        Data pages that the destination has yet to touch; None: all of them. There are fewer where the destination's
        memory is allocated beforehand, as with our lab's aliased guests.
    """

    workload: Workload
    terms: Mapping[str, float]
    version: QemuVersion
    parameters: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    accel: str = "kvm"
    dirty_ring_size: int = 0
    vcpus: int = 1
    link_bytes_per_s: float | None = None
    deadline_s: float = 1800.0
    fresh_pages: int | None = None
    name: str = ""

    @property
    def behaviour(self) -> Behaviour:
        """The release's behaviour."""
        return behaviour_of(self.version)

    @property
    def chunked(self) -> bool:
        """Whether the protect window of a sent page begins when its 1 GiB chunk is cleared."""
        return protect_window(self.version, self.accel, self.dirty_ring_size > 0) == "chunk"

    def has_capability(self, capability: str) -> bool:
        """Whether a capability is switched on."""
        return bool(self.capabilities.get(capability, False))

    def parameter(self, name: str) -> Any:
        """Value of a migration parameter: as it is set, or the version's default."""
        if name in self.parameters:
            return self.parameters[name]
        return defaults(self.version).get(name, 0)
