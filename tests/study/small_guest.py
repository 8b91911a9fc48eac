"""A small guest and its host, whose migrations take a few milliseconds to simulate."""

from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import HOST_TERMS
from migsim.workload import Workload, WorkloadClass

TERMS = dict.fromkeys(HOST_TERMS, 0.0) | {
    "connect_s": 0.002,
    "setup_base_s": 0.005,
    "sync_base_s": 2e-4,
    "sync_s_per_gib": 1e-5,
    "zero_page_s": 4e-7,
    "normal_page_s": 4e-6,
    "cold_page_s": 5e-6,
    "fresh_page_s": 5e-6,
    "burst_page_s": 4e-6,
    "burst_cold_page_s": 5e-6,
    "burst_fresh_page_s": 5e-6,
    "window_overhead_s": 2e-4,
    "stop_s": 1e-3,
    "device_state_s": 4e-3,
    "load_s": 3e-3,
    "device_state_bytes": 80_000.0,
    "guest_speed": 1.0,
}
UNITS = {"guest_speed": "relative", "device_state_bytes": "bytes"}


def host(spread: float = 0.1, **own: float) -> HostProfile:
    """Terms with one spread, but those named."""
    terms = {
        name: Term(median=value, spread=own.get(name, spread), unit=UNITS.get(name, "s"))
        for name, value in TERMS.items()
    }
    return HostProfile(terms=terms, qemu_version="10.0.8")


GUEST = Workload(
    ram_bytes=128 << 20,
    ram_total_bytes=132 << 20,
    zero_pages=12_000,
    classes=(
        WorkloadClass(pages=2000, writes_per_page_per_s=3.0, extents=((1000, 2000),)),
        WorkloadClass(pages=15_000, writes_per_page_per_s=0.0, extents=((4000, 15_000),)),
    ),
    writes_spread=0.1,
)
"""Converges where a window carries more than it dirties: above some 30 MB/s."""
