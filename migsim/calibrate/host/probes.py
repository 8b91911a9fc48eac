"""The probe migrations of a host: which guests, which settings, and which terms each is for.

The probes are guests that no prediction is about. In each the vCPU is busy, as in a guest worth migrating.

- two sizes of empty RAM: scan, sync, setup
- a guest full of data, no limit: pages new to the destination
- several views of one file, no limit: pages in no cache, for which the destination has memory
- a hot set, no limit: pages sent again; the same with XBZRLE
- a hot set at two limits: windows, switchover, and log faults
- a guest under dirty-limit, where QEMU has it: the dirty ring

With pinning, those that show a page's cost in the blackout run again with each side on cores of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from migsim.models.dirty.bitmap import GIB
from migsim.models.throttle.trigger import throttle_rules
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, MigrationSettings, PageClass, QemuSpec

__all__ = ["BURST", "UNENDING", "Probe", "alias_bytes_with_room", "host_probes", "with_pinned"]

SLOW = 62_500_000
FAST = 250_000_000
FAULTS = "probe-faults-1g"
RESEND = "probe-resend-1g"
SMALL = "probe-empty-1g"
EMPTY = "probe-empty-64g"
COLD = "probe-cold"
COLD_ALIAS_BYTES = 4 * GIB
"""More than any cache holds, page-table caches included; less where ``/dev/shm`` has no room for two of it."""
HOT = "probe-hot-1g"
XBZRLE = "probe-xbzrle-1g"
RING = "probe-ring-1g"
DATA = "probe-data-1g"
UNENDING = (FAULTS, RESEND, XBZRLE, RING)
"""Probes that do not complete, so that they have many rounds."""
BURST = (HOT, COLD, DATA)
"""Probes that show a page's cost in the blackout, in the order of `migsim.profiles.terms.BURST_TERMS`."""


@dataclass(frozen=True)
class Probe:
    """One probe migration.

    Attributes
    ----------
    purpose : str
    scenario : LabScenario
    runs : int
        Number of its runs in each repeat.
    pinned : bool
        Whether each side gets cores of its own.
    """

    purpose: str
    scenario: LabScenario
    runs: int = 1
    pinned: bool = False


def host_probes(qemu: QemuSpec, *, cold_alias_bytes: int = COLD_ALIAS_BYTES) -> list[Probe]:
    """Return the probes for a QEMU; each takes some seconds.

    Parameters
    ----------
    qemu : QemuSpec
    cold_alias_bytes : int
        Memory in ``/dev/shm`` that the probe of pages in no cache takes on each side.
    """

    def scenario(
        name: str,
        gib: float,
        touched: int,
        hot: int,
        parameters: dict[str, int],
        settle_s: float = 2.0,
        deadline_s: float = 120.0,
        alias_bytes: int | None = None,
        capabilities: dict[str, bool] | None = None,
        work: int = 0,
        ring: int = 0,
    ) -> LabScenario:
        workload = GuestWorkload(
            touched_pages=touched,
            work=work,
            classes=(PageClass(base_page=0, pages=hot, share=1, pattern="random", changed_bytes=8),),
            report_s=0.5,
        )
        return LabScenario(
            name=name,
            qemu=qemu.replace(dirty_ring_size=ring),
            guest=GuestSpec(
                ram_bytes=int(gib * GIB),
                memory="aliased" if alias_bytes else "plain",
                alias_bytes=alias_bytes,
                workload=workload,
            ),
            migration=MigrationSettings(parameters=parameters, capabilities=capabilities or {}),
            settle_s=settle_s,
            deadline_s=deadline_s,
        )

    unlimited = {"max-bandwidth": 0, "downtime-limit": 300}
    limited = {"max-bandwidth": FAST, "downtime-limit": 300}
    # A downtime limit of a millisecond keeps a migration from ending, so that it has many rounds.
    endless = {"max-bandwidth": SLOW, "downtime-limit": 1}
    endless_unlimited = {"max-bandwidth": 0, "downtime-limit": 1}
    # The guest is slow enough that no ring overflows between two checks of KVM, on a host that emulates instructions.
    limit = {"max-bandwidth": 40_000_000, "downtime-limit": 1, "vcpu-dirty-limit": 10}
    ring = scenario(
        RING, 1, 30_000, 25_000, limit, deadline_s=9.0, capabilities={"dirty-limit": True}, work=30, ring=4096
    ) if _has_ring(qemu) else None  # fmt: skip
    return [
        Probe("scan, setup and sync, small", scenario(SMALL, 1, 500, 64, unlimited)),
        Probe("scan, setup and sync, large", scenario(EMPTY, 64, 500, 64, unlimited)),
        # Nearly all of its RAM is data, so that the blackout also carries pages sent for the first time.
        Probe("send and blackout, no limit", scenario(DATA, 1, 250_000, 64, unlimited)),
        # Three views of one file: after the first view the destination has the memory, and no cache holds it.
        Probe(
            "send what is there",
            scenario(COLD, 3 * cold_alias_bytes / GIB, 0, 64, unlimited, alias_bytes=cold_alias_bytes),
        ),
        # More runs, because the blackout differs most from run to run.
        Probe("windows and switchover", scenario(HOT, 1, 100_000, 15_000, limited), runs=3),
        Probe("faults", scenario(FAULTS, 1, 20_000, 2500, endless, 5.0, 9.0)),
        Probe("send again, no limit", scenario(RESEND, 1, 40_000, 30_000, endless_unlimited, deadline_s=6.0)),
        # The hot set is so small that the second sweep puts nearly all of it into the cache; later rounds are all hits.
        Probe(
            "XBZRLE",
            scenario(
                XBZRLE,
                1,
                40_000,
                8000,
                endless_unlimited | {"xbzrle-cache-size": 256 << 20},
                deadline_s=6.0,
                capabilities={"xbzrle": True},
            ),
        ),
        *([Probe("dirty ring", ring)] if ring else []),
    ]


def with_pinned(probes: list[Probe]) -> list[Probe]:
    """Return the probes, each that shows a page's cost in the blackout followed by itself with its sides pinned."""
    again = {
        probe.scenario.name: replace(probe, purpose=f"{probe.purpose}, pinned", pinned=True)
        for probe in probes
        if probe.scenario.name in BURST
    }
    return [run for probe in probes for run in (probe, again.get(probe.scenario.name)) if run is not None]


def _has_ring(qemu: QemuSpec) -> bool:
    """Return whether dirty-limit can be measured: it needs KVM and QEMU 8.1."""
    return qemu.accel == "kvm" and throttle_rules(qemu.qemu_version).dirty_limit


def alias_bytes_with_room(most_bytes: int) -> int:
    """Return `most_bytes`, halved until ``/dev/shm`` has room for both sides' files; at least a quarter of a GiB."""
    from migsim.lab.machine import free_shared_bytes

    size = most_bytes
    while size > GIB // 4 and free_shared_bytes() < 2.2 * size:
        size //= 2
    return size
