"""Cache sizes predicted one by one, and read from records."""

import pytest

from migsim import MigrationResult, MigrationSettings, Trace, bundled_profile
from migsim.results import cache_hit_rate
from migsim.study.predict import predict
from migsim.study.xbzrle_sizes import measured_sizes, predicted_sizes
from validation.places import RECORDS, TRACES

MIB = 1 << 20
SETTINGS = MigrationSettings(parameters={"max-bandwidth": 50_000_000, "downtime-limit": 300})
HOW = {"qemu_version": "10.0", "deadline_s": 20.0, "draws": 3, "seed": 5}


@pytest.fixture(scope="module")
def guest():
    return Trace.open(TRACES / "delta-2g.trace"), bundled_profile("10.0")


@pytest.fixture(scope="module")
def table(guest):
    trace, host = guest
    return predicted_sizes(trace, host=host, settings=SETTINGS, sizes_bytes=[8 * MIB, 64 * MIB], **HOW)


def test_each_row_is_the_prediction_for_its_size(guest, table):
    trace, host = guest
    asked = MigrationSettings(
        parameters={**SETTINGS.parameters, "xbzrle-cache-size": 64 * MIB}, capabilities={"xbzrle": True}
    )
    made = predict(trace, host=host, settings=asked, **HOW)
    row = table.set_index("cache_size_bytes").loc[64 * MIB]
    assert row["status"] == made.outcome.status
    assert row["hit_rate"] == made.median("cache-hit-rate")
    assert row["transferred_bytes"] == made.medians["transferred"]
    assert row["total_s"] == pytest.approx(made.medians["total-time"] / 1000)


def test_bands_hold_the_median_and_a_cache_below_the_hot_set_does_not_do(table):
    for column in ("hit_rate", "transferred_bytes", "total_s"):
        known = table[table["status"] == "completed"] if column == "total_s" else table
        assert (known[f"{column}_low"] <= known[column]).all()
        assert (known[column] <= known[f"{column}_high"]).all()
    assert table["status"].tolist() == ["not-converged", "completed"]
    assert table["hit_rate"].is_monotonic_increasing


def test_settings_given_are_left_as_they_are(table):
    assert SETTINGS.capabilities == {}
    assert "xbzrle-cache-size" not in SETTINGS.parameters


def test_records_are_read_and_those_without_xbzrle_left_out():
    coded, plain = (
        MigrationResult.load(RECORDS / f"kvm-{name}-1.json")
        for name in ("xbzrle-delta-2g-64mib-q100", "hot-4g-2gbps-300ms-q100")
    )
    (row,) = measured_sizes([coded, plain]).to_dict("records")
    assert row == {
        "cache_size_bytes": 64 * MIB,
        "qemu_version": coded.qemu_version,
        "status": "completed",
        "hit_rate": cache_hit_rate(coded.info),
        "transferred_bytes": coded.transferred_bytes,
        "total_s": coded.total_time_ms / 1000,
    }
    assert measured_sizes([plain]).empty
