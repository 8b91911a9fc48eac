r"""The freeze at the start of a migration: marking, starting the log, the first sync.

Law
---
.. math:: t_{freeze} = t_{mark} + t_{log} + t_{sync,1}

* :math:`t_{mark} = N c` in 1.2 only, which marks every page by hand; later releases fill a bitmap (microseconds).
* :math:`t_{log}`: KVM write-protects, or clears the D bits of, what the guest has mapped: :math:`c_{4K}`,
  :math:`c_{2M}` or :math:`c_{1G}` for each GiB of it, by the size of its mappings. With manual protect and
  initially-all-set (QEMU 5.1, Linux 5.7) nothing is protected: :math:`c_{set}` for each GiB.
* :math:`t_{sync,1}`: the first sync, 1.3 on; the log is empty, or full where it starts all-set.

All of it holds the big lock up to 8.1 in these three steps, from 8.2 on throughout setup. Who waits:

====================  ==================================================================================
who                   how long
====================  ==================================================================================
an I/O exit, a timer  whoever needs the big lock: :math:`t_{freeze}`
a page fault          whoever needs `mmu_lock`: :math:`t_{log}` and the kernel's part of the first sync
guest code            not at all; it pays at its first write to each page, a fault or the split of a mapping
====================  ==================================================================================

What all-set saves at the start is paid chunk by chunk later (`migsim.models.dirty.sync.clear_s`), in
slices of a GiB.

Under TCG nothing is protected: the log start empties every TLB, and each entry is filled once more.

At the other end `log_global_stop` undoes it: inside the downtime up to 2.4, after the last byte from 2.5 on.

Mirrors: `arch_init.c` and `memory.c` (1.2 to 1.7), `migration/ram.c`, `accel/kvm/kvm-all.c`, Linux `arch/x86/kvm`.
Leaves out: the split of huge mappings that comes later, eager splitting (Linux 5.17 on).
Source: the mechanics reference, section 3.4; Linux 3c9bd4006bfc and c862626e19 for the costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from migsim.errors import ParameterError
from migsim.models.dirty.bitmap import GIB, PAGES_PER_GIB, BitmapLayout
from migsim.models.dirty.sync import SyncParts, sync_parts
from migsim.qapi import QemuVersion

__all__ = ["MAPPINGS", "StartFreeze", "log_start_s", "log_stop_s", "start_freeze"]

MappingSize = Literal["4k", "2m", "1g"]
MAPPINGS: tuple[MappingSize, ...] = ("4k", "2m", "1g")
"""Page sizes with which the guest's memory may be mapped."""


@dataclass(frozen=True, slots=True)
class StartFreeze:
    """The start of a migration, in seconds.

    Attributes
    ----------
    mark_s : float
        Time in which every page is marked by hand (1.2).
    log_s : float
        `log_global_start`.
    sync : SyncParts
        The first sync.
    """

    mark_s: float
    log_s: float
    sync: SyncParts

    @property
    def total_s(self) -> float:
        """Time that the big lock is held: the longest wait of I/O exits, timers and the monitor."""
        return self.mark_s + self.log_s + self.sync.total_s

    @property
    def fault_stall_s(self) -> float:
        """Longest wait of a page fault for `mmu_lock`."""
        return self.log_s + self.sync.mmu_lock_s

    def parts_ms(self) -> dict[str, float]:
        """Return the parts in ms; they sum to the freeze."""
        return {
            "mark": self.mark_s * 1000,
            "log-start": self.log_s * 1000,
            "first-sync": self.sync.total_s * 1000,
        }


def log_start_s(
    mapped_bytes: float,
    costs: Mapping[str, float],
    *,
    mapping: MappingSize = "4k",
    initially_all_set: bool = False,
) -> float:
    """Return the duration of `log_global_start`.

    Parameters
    ----------
    mapped_bytes : float
        Guest memory that is mapped, because the guest has touched it.
    costs : mapping of str to float
        ``log_start_s_per_gib_4k`` (``_2m``, ``_1g``, ``_all_set``), whichever applies.
    mapping : {"4k", "2m", "1g"}
        Page size of the mappings.
    initially_all_set : bool
        Whether the log starts full instead of with everything protected.

    Raises
    ------
    ParameterError
        For another page size, or a negative size of memory.

    Examples
    --------
    >>> from migsim.profiles.published import cost_preset
    >>> arm = cost_preset("era-2020-arm64").at()
    >>> [round(log_start_s(127 << 30, arm, mapping=m) * 1000) for m in MAPPINGS]
    [645, 4, 2]
    """
    if mapping not in MAPPINGS or mapped_bytes < 0:
        raise ParameterError(
            f"A log start over {mapped_bytes} bytes in mappings of {mapping!r}.",
            f"A size is 0 or more; mappings are {', '.join(MAPPINGS)} (x86 and arm64 with 4 KiB pages).",
            "Give the one that the guest's memory is mapped with.",
        )
    return costs[f"log_start_s_per_gib_{'all_set' if initially_all_set else mapping}"] * mapped_bytes / GIB


def start_freeze(
    layout: BitmapLayout,
    ram_bytes: float,
    costs: Mapping[str, float],
    *,
    mapped_bytes: float | None = None,
    mapping: MappingSize = "4k",
) -> StartFreeze:
    """Compute the freeze at the start.

    Parameters
    ----------
    layout : BitmapLayout
    ram_bytes : float
    costs : mapping of str to float
    mapped_bytes : float, optional
        Guest memory that is mapped; all of it by default. Where the log starts all-set, all of it counts.
    mapping : {"4k", "2m", "1g"}

    Examples
    --------
    >>> from migsim.models.dirty.bitmap import bitmap_layout
    >>> from migsim.profiles.published import cost_preset
    >>> freeze = start_freeze(bitmap_layout("1.3"), 512 << 30, cost_preset("era-2012").at())
    >>> {part: round(ms) for part, ms in freeze.parts_ms().items()}
    {'mark': 0, 'log-start': 2186, 'first-sync': 1788}
    """
    pages = ram_bytes / GIB * PAGES_PER_GIB
    all_set = layout.initially_all_set
    mapped = ram_bytes if mapped_bytes is None or all_set else mapped_bytes
    if layout.passes == 0:
        first = SyncParts()
    else:
        first = sync_parts(layout, ram_bytes, pages if all_set else 0.0, costs, spread="runs")
    return StartFreeze(
        mark_s=0.0 if layout.migration_bitmap else pages * costs["mark_s_per_page"],
        log_s=log_start_s(mapped, costs, mapping=mapping, initially_all_set=all_set),
        sync=first,
    )


def log_stop_s(version: QemuVersion | str, mapped_bytes: float, costs: Mapping[str, float]) -> float:
    """Return the part of the downtime that stops the log; 0 from 2.5 on, which stops it after the last byte.

    Examples
    --------
    >>> from migsim.profiles.published import cost_preset
    >>> costs = cost_preset("era-2012").at()
    >>> log_stop_s("2.4", 8 << 30, costs), log_stop_s("2.5", 8 << 30, costs)
    (0.03, 0.0)
    """
    if QemuVersion.parse(version) >= QemuVersion(2, 5):
        return 0.0
    return costs["log_stop_s_per_gib"] * mapped_bytes / GIB
