"""One migration in the words of both sides: the witness's plain numbers become a `SimulationInput`."""

from __future__ import annotations

from typing import Any

from migsim.engine.inputs import SimulationInput
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass
from tests.witness.precopy_pages import NORMAL_RECORD, Guest, Host, Rules


def workload_of(guest: Guest) -> Workload:
    """Return the guest's writes, its zero pages, and the rest as pages with data that nobody writes."""
    classes = [
        WorkloadClass(
            pages=w.pages,
            writes_per_page_per_s=w.rate / w.pages,
            pattern=w.pattern,
            extents=((w.first, w.pages),),
        )
        for w in guest.writes
    ]
    taken = [(w.first, w.pages) for w in guest.writes] + list(guest.zero)
    still, end = [], 0
    for first, pages in sorted([*taken, (guest.pages, 0)]):
        if first > end:
            still.append((end, first - end))
        end = max(end, first + pages)
    if still:
        classes.append(
            WorkloadClass(pages=sum(n for _, n in still), writes_per_page_per_s=0, extents=tuple(still))
        )
    return Workload(
        ram_bytes=guest.pages * 4096,
        ram_total_bytes=guest.pages * 4096,
        zero_pages=sum(n for _, n in guest.zero),
        classes=tuple(classes),
    )


def terms_of(host: Host) -> dict[str, float]:
    """Return the engine's host terms with the witness's values."""
    fresh_s = host.page_s if host.fresh_s is None else host.fresh_s
    return dict.fromkeys(HOST_TERMS, 0.0) | {
        "connect_s": host.connect_s,
        "setup_base_s": host.setup_s + host.sync_s,  # the engine's setup holds the first sync
        "sync_base_s": host.sync_s,
        "zero_page_s": host.zero_s,
        "normal_page_s": host.page_s,
        "burst_page_s": host.page_s,
        "fresh_page_s": fresh_s,
        "cold_page_s": fresh_s,
        "burst_cold_page_s": fresh_s,
        "burst_fresh_page_s": fresh_s,
        "window_overhead_s": host.wake_s,
        "window_overhead_s_per_gib_per_s": 0.0,
        "switch_gap_s": host.gap_s,
        "stop_s": host.stop_s,
        "device_state_s": host.device_s + host.device_bytes * host.page_s / NORMAL_RECORD,
        "device_state_bytes": float(host.device_bytes),
        "guest_speed": 1.0,
    }


def simulation_of(guest: Guest, host: Host, rules: Rules, **more: Any) -> SimulationInput:
    """Return the same migration for the engine."""
    return SimulationInput(
        workload=workload_of(guest),
        terms=terms_of(host),
        version=QemuVersion.parse(rules.qemu),
        parameters={
            "max-bandwidth": rules.limit,
            "downtime-limit": rules.downtime_limit_ms,
            **(
                {"avail-switchover-bandwidth": rules.switchover_bandwidth}
                if rules.switchover_bandwidth
                else {}
            ),
        },
        accel="kvm" if rules.manual_protect else "tcg",
        deadline_s=rules.deadline_s,
        **more,
    )
