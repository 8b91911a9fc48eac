import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.models.loop.behaviour import behaviour_of
from migsim.models.loop.query_migrate import Counters, migration_info
from migsim.qapi import QemuVersion, validate_migration_info

VERSIONS = ["2.9", "4.2", "6.1", "7.2", "8.1", "8.2", "9.0", "10.0", "10.2"]
counts = st.floats(0, 1e9)


def counters(**more):
    values = {
        "total_bytes": 1 << 30,
        "downtime_limit_ms": 300,
        "ram_stream": 5e8,
        "other_stream": 80_000.0,
        "downtime_stream": 3e6,
        "normal": 120_000,
        "duplicate": 140_000,
        "remaining_bytes": 40_960_000,
        "dirty_sync_count": 4,
        "mbps": 800.0,
        "setup_s": 0.02,
    }
    return Counters(**(values | more))


@settings(max_examples=60)
@given(st.sampled_from(VERSIONS), counts, counts, counts, counts, st.floats(0.1, 1e5), st.booleans())
def test_every_answer_is_query_migrates(version, stream, normal, zero, remaining, total_s, completed):
    c = counters(ram_stream=stream, normal=normal, duplicate=zero, remaining_bytes=remaining)
    c.downtime_stream = min(c.downtime_stream, stream)
    behaviour = behaviour_of(QemuVersion.parse(version))
    info = migration_info(
        c, behaviour, status="completed" if completed else "active", total_s=total_s, downtime_s=0.05
    )
    validate_migration_info(info)
    ram = info["ram"]
    assert ram["normal-bytes"] == ram["normal"] * 4096
    assert ram["remaining"] % 4096 == 0
    # Times lose what is less than a millisecond, counts are rounded.
    assert info["total-time"] == math.floor(total_s * 1000)
    assert (ram["normal"], ram["duplicate"]) == (round(normal), round(zero))
    if "precopy-bytes" in ram:
        other = 80_000 if behaviour.transferred_counts == "stream" else 0
        split = ram["precopy-bytes"] + ram["downtime-bytes"]
        assert split == pytest.approx(ram["transferred"] - other, abs=1)


def test_completion_swaps_the_expected_downtime_for_the_downtime():
    behaviour = behaviour_of(QemuVersion.parse("10.0"))
    going = migration_info(counters(), behaviour, status="active", total_s=2)
    done = migration_info(counters(), behaviour, status="completed", total_s=2, downtime_s=0.0421)
    assert going["expected-downtime"] == 300  # the limit, until a window refreshed it
    assert "downtime" not in going and "expected-downtime" not in done
    assert done["downtime"] == 42
    assert done["ram"]["remaining"] == 0
    assert done["ram"]["dirty-pages-rate"] == 0
    # The last mbps is the average over the time after setup, all bytes of the stream counted.
    assert done["ram"]["mbps"] == pytest.approx((5e8 + 80_000) * 8 / (2 - 0.02) / 1e6)
    assert going["ram"]["mbps"] == 800.0


@pytest.mark.parametrize("ms", [0.0, 0.4, 0.6, 41.9, 42.1, 999.99])
def test_milliseconds_are_whole_ones_that_passed(ms):
    c = counters(setup_s=ms / 1000, expected_downtime_ms=ms)
    behaviour = behaviour_of(QemuVersion.parse("10.0"))
    done = migration_info(c, behaviour, status="completed", total_s=2 + ms / 1000, downtime_s=ms / 1000)
    assert (done["total-time"], done["setup-time"], done["downtime"]) == (2000 + int(ms), int(ms), int(ms))
    going = migration_info(c, behaviour, status="active", total_s=2)
    assert going["expected-downtime"] == int(ms)


def test_the_split_counts_ram_records_only_in_every_release():
    """Device state and sections are in `transferred` from 8.2 on, but never in precopy- or downtime-bytes."""
    for version, other in (("7.2", 0), ("8.1", 0), ("8.2", 80_000), ("10.0", 80_000)):
        behaviour = behaviour_of(QemuVersion.parse(version))
        ram = migration_info(counters(), behaviour, status="completed", total_s=2, downtime_s=0.1)["ram"]
        assert (ram["precopy-bytes"], ram["downtime-bytes"]) == (497_000_000, 3_000_000)
        assert ram["transferred"] - 500_000_000 == other


def test_transferred_counts_the_device_state_from_8_2_on():
    sizes = [
        migration_info(counters(), behaviour_of(QemuVersion.parse(v)), status="active", total_s=1)["ram"][
            "transferred"
        ]
        for v in ("8.1", "8.2")
    ]
    assert sizes == [500_000_000, 500_080_000]


@pytest.mark.parametrize(
    ("version", "split", "skipped"), [("6.2", False, True), ("7.2", True, True), ("9.1", True, False)]
)
def test_fields_come_and_go_with_releases(version, split, skipped):
    ram = migration_info(counters(), behaviour_of(QemuVersion.parse(version)), status="active", total_s=1)[
        "ram"
    ]
    assert ("precopy-bytes" in ram) is split
    assert ("skipped" in ram) is skipped
