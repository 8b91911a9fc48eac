"""Input of a simulated migration of 2012: guest, design, costs and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from migsim.errors import ParameterError
from migsim.history.iothread import SOCKET_BUFFER_BYTES
from migsim.models.dirty.bitmap import BitmapLayout, bitmap_layout
from migsim.models.dirty.log_start import MappingSize, StartFreeze, start_freeze
from migsim.models.loop.copies import Ceiling, copy_path, one_thread_ceiling
from migsim.units import PAGE_BYTES
from migsim.workload import Workload

__all__ = ["TREES", "Design", "TreeInput"]

Design = Literal["iothread", "thread"]

TREES: dict[Design, str] = {"iothread": "qemu.git 1.2.50", "thread": "Mig-thread 20121029"}
"""The two designs, and what the chart of idle guests calls their source trees."""


@dataclass(frozen=True)
class TreeInput:
    """One migration of 2012, by either source tree.

    Attributes
    ----------
    workload : Workload
        The guest.
    design : {"iothread", "thread"}
    costs : mapping of str to float
        Costs by name, such as ``cost_preset("era-2012").at()``.
    max_bandwidth : int
        Bytes a second (``migrate_set_speed``).
    downtime_limit_ms : float
        ``migrate_set_downtime``.
    drain_bytes_per_s : float
        Rate at which the network and the destination take bytes; by default that of 10 GbE.
    socket_buffer_bytes : float
    mapped_bytes : float, optional
        Guest memory that the kernel has mapped; by default all pages that hold data.
    mapping : {"4k", "2m", "1g"}
        Page size of those mappings.
    version : str
        The main loop's release: 1.2, or 1.2.50 (= 1.3). The branch is 1.2.50 with the bitmap of 1.4.
    deadline_s : float
        When a migration that has not converged is given up, in seconds after its start.
    name : str
    """

    workload: Workload
    design: Design
    costs: Mapping[str, float]
    max_bandwidth: int = 1_250_000_000
    downtime_limit_ms: float = 2000.0
    drain_bytes_per_s: float = 1.177e9
    socket_buffer_bytes: float = SOCKET_BUFFER_BYTES
    mapped_bytes: float | None = None
    mapping: MappingSize = "4k"
    version: str = "1.2.50"
    deadline_s: float = 20_000.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.design not in TREES:
            raise ParameterError(
                f"The design is {self.design!r}.",
                f"The trees of 2012 have {' and '.join(TREES)}.",
                "Choose one of them.",
            )

    @property
    def layout(self) -> BitmapLayout:
        """Layout of the dirty bitmap: with one pass over all pages a sync (thread branch), or two (main loop)."""
        return bitmap_layout("1.4" if self.design == "thread" else self.version)

    @cached_property
    def ceiling(self) -> Ceiling:
        """Time that a page takes in the sending thread, by its parts."""
        return one_thread_ceiling(copy_path(self.version, staged=True), self.costs)

    @property
    def data_bytes(self) -> float:
        """Guest memory that the kernel has mapped."""
        filled = self.workload.ram_total_bytes - self.workload.zero_pages * PAGE_BYTES
        return float(filled) if self.mapped_bytes is None else self.mapped_bytes

    def freeze(self) -> StartFreeze:
        """Compute how long the guest freezes when the migration starts, by parts."""
        return start_freeze(
            self.layout,
            self.workload.ram_total_bytes,
            self.costs,
            mapped_bytes=self.data_bytes,
            mapping=self.mapping,
        )
