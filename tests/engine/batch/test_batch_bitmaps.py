"""Bitmaps of bits and of bytes in the batch engine: a sync that costs what either does, against the event engine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.engine.batch.grid import simulate_many
from migsim.models.dirty.bitmap import bitmap_layout
from migsim.models.dirty.sync import sync_parts
from migsim.profiles.published import cost_preset
from tests.engine.batch.test_batch import base, check, hot_guest, inputs

GIB = 1 << 30
COSTS = {
    "1.2": "era-2012",
    "1.3": "era-2012",
    "1.5": "era-2012",
    "2.0": "era-2020-x86",
    "10.0": "era-2020-x86",
}
"""The releases whose maps differ, and what they are reckoned with."""


def with_map(migration, release, share, stretch=1.0):
    """The migration with syncs as that release's map makes them, a share of RAM being dirty."""
    layout, ram = bitmap_layout(release), migration.workload.ram_total_bytes
    costs = cost_preset(COSTS[release]).at()
    empty = sync_parts(layout, ram, 0, costs).total_s
    full = sync_parts(layout, ram, share * ram / 4096, costs).total_s
    by_ram = {"sync_s_per_gib": stretch * empty / (ram / GIB), "sync_base_s": stretch * (full - empty)}
    return layout, replace(migration, terms=migration.terms | by_ram)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([None, "auto-converge", "xbzrle", "multifd"]).flatmap(
        lambda c: inputs(c, ("4.2", "7.2", "10.0"))
    ),
    st.sampled_from(sorted(COSTS)),
    st.floats(0, 1),
    st.sampled_from([1.0, 30.0]),
)
def test_syncs_of_every_map_are_the_event_engines(migration, release, share, stretch):
    """Thirty times as long they take as much of a round as in a guest of thirty times the RAM."""
    layout, mapped = with_map(migration, release, share, stretch)
    assert layout.qemu_bits_per_page == (8 if release in ("1.2", "1.3", "1.5") else 1)
    check([mapped])


def test_bytes_cost_what_the_law_says_more_than_bits():
    """Same guest, same costs of the host: the downtime differs by one sync, the whole by all of them."""
    migration = base(
        workload=hot_guest(rate=3000.0, pages=1 << 23), parameters={"max-bandwidth": 500_000_000}
    )
    cells = [with_map(migration, release, 0.0)[1] for release in ("1.5", "10.0")]
    sync_s = [
        c.terms["sync_base_s"] + c.terms["sync_s_per_gib"] * migration.workload.ram_total_bytes / GIB
        for c in cells
    ]
    assert sync_s[0] > 5 * sync_s[1]
    _, fast = check(cells)
    longer_ms = (sync_s[0] - sync_s[1]) * 1000
    assert fast["dirty_sync_count"].tolist() == [fast["dirty_sync_count"][0]] * 2
    by_sync = fast["blackout_ms"][0] - fast["blackout_ms"][1]
    # Longer syncs leave the guest more time to write: a few more pages go with the last ones.
    assert by_sync == pytest.approx(longer_ms, rel=0.2)
    assert by_sync >= longer_ms * (1 - 1e-6)
    alone = [simulate_many([cell])["blackout_ms"][0] for cell in cells]
    assert alone == fast["blackout_ms"].tolist()
