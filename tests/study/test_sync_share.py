"""Tables of syncs by guest size and bitmap layout: share of the downtime, freeze at the start."""

import pytest

from migsim.study.dirty_bitmap import SIZES_GIB, freeze_table, preset_of, sync_share_table


def test_shares_from_1_gib_to_16_tib():
    table = sync_share_table()
    assert sorted(table["ram_gib"].unique()) == list(SIZES_GIB) == [2**k for k in range(15)]
    shares = table.pivot_table(index="ram_gib", columns="layout", values="share")
    for layout in shares:
        assert shares[layout].is_monotonic_increasing
        assert shares[layout].between(0, 1).all()
    assert (shares["1.3"] >= shares["1.4-1.7"]).all()
    assert (shares["1.4-1.7"] > shares["5.1"]).all()
    assert shares.loc[512, "1.3"] > 0.8  # "syncs dominate", 300 ms beside them
    assert shares.loc[512, "5.1"] < 0.05


def test_dirty_pages_make_legacy_syncs_longer_than_manual_ones():
    table = sync_share_table([256], dirty_fraction=0.1).set_index("layout")["sync_s"]
    assert table["2.0"] > 2 * table["5.1"]


def test_the_freeze_by_release_and_mapping():
    table = freeze_table([128]).set_index("case")
    assert table.loc["QEMU 2.0, 4k", "io_exit_s"] == pytest.approx(0.461, rel=0.02)
    assert table.loc["QEMU 5.1, all-set", "io_exit_s"] < 0.02
    assert table.loc["QEMU 1.3, 4k", "io_exit_s"] > table.loc["QEMU 1.3, 2m", "io_exit_s"] > 0.1
    assert (table["page_fault_s"] <= table["io_exit_s"]).all()


def test_each_layout_has_the_costs_of_its_time():
    assert preset_of("1.4-1.7") == "era-2012"
    assert preset_of("ring") == "era-2020-x86"
