"""What a simulation starts from: `SimulationInput`, and the host terms that each mechanism needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migsim.errors import ParameterError
from migsim.models.dirty.log import protect_window
from migsim.models.dirty.ring import ring_fill_pages
from migsim.models.loop.behaviour import Behaviour, behaviour_of
from migsim.models.multifd.packets import ZeroPages, zero_page_detection
from migsim.profiles.terms import (
    HOST_TERMS,
    MULTIFD_TERMS,
    MULTIFD_ZERO_TERMS,
    RING_TERMS,
    SLICE_TERMS,
    XBZRLE_TERMS,
)
from migsim.qapi import QemuVersion, defaults
from migsim.qapi.machine_type import machine_release
from migsim.workload import Workload

__all__ = ["SimulationInput", "check_ring", "needed_terms"]


def needed_terms(capabilities: Mapping[str, bool], *, zero_pages: str = "legacy") -> tuple[str, ...]:
    """Return the names of the host terms that a migration with these capabilities needs.

    Parameters
    ----------
    capabilities : mapping of str to bool
    zero_pages : str
        Who looks for zero pages with multifd (see `migsim.models.multifd.packets.zero_page_detection`).
    """
    xbzrle = XBZRLE_TERMS if capabilities.get("xbzrle") else ()
    slices = SLICE_TERMS if capabilities.get("auto-converge") else ()
    ring = RING_TERMS if capabilities.get("dirty-limit") else ()
    multifd = MULTIFD_TERMS if capabilities.get("multifd") else ()
    zero = MULTIFD_ZERO_TERMS if multifd and zero_pages == "multifd" else ()
    return (*HOST_TERMS, *xbzrle, *slices, *ring, *multifd, *zero)


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
        Host terms, see `migsim.profiles.terms`.
    version : QemuVersion
    parameters, capabilities : mapping
        Migration settings in QAPI's names and units; an absent one has the version's default.
    accel : {"kvm", "tcg"}
    dirty_ring_size : int
        Entries of KVM's dirty ring, for each vCPU; 0: KVM uses the dirty bitmap.
    vcpus : int
        Number of vCPUs; all write at the same rate.
    machine_type : str, optional
        The guest's, as ``"pc-q35-8.2"``; None: the release's own.
    host_cpus : int, optional
        Processors that the guest and multifd's channels share; None: those of the host that the terms were measured on.
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
    machine_type: str | None = None
    host_cpus: int | None = None
    name: str = ""

    @property
    def behaviour(self) -> Behaviour:
        """The release's behaviour."""
        return behaviour_of(self.version)

    @property
    def zero_pages(self) -> ZeroPages:
        """Who looks for zero pages: multifd's channels, the migration thread (``legacy``), or nobody."""
        multifd = self.has_capability("multifd")
        return zero_page_detection(self.parameters, self.version, machine=self.machine, multifd=multifd)

    @property
    def machine(self) -> QemuVersion | None:
        """The release that the machine type is of; None for QEMU's own."""
        return machine_release(self.machine_type) if self.machine_type else None

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
