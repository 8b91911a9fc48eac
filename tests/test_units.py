import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import UnitError
from migsim.units import (
    format_bytes,
    format_duration_s,
    format_rate,
    format_value,
    parse_bytes,
    parse_duration_s,
    parse_quantity,
    parse_rate,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("4096", 4096), (4096, 4096), ("128GiB", 128 << 30), ("10 GB", 10**10), ("1kB", 1000), ("1.5KiB", 1536)],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10Gbps", 1_250_000_000),
        ("32MiB/s", 33554432),
        ("100Mbit/s", 12_500_000),
        ("1GBps", 10**9),
        ("8b/s", 1),
        ("134217728", 134217728),
        ("0", 0),
        ("1Gibps", 2**30 // 8),
    ],
)
def test_rates(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1.5s", 1.5),
        ("2min", 120),
        ("1h", 3600),
        ("50us", 5e-5),
        ("50µs", 5e-5),
        ("7", 7),
        (0.25, 0.25),
    ],
)
def test_durations(text, seconds):
    assert parse_duration_s(text) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize("text", ["128G", "10G", "1K", "1k", "3M", "2T", "1KB"])
def test_a_bare_suffix_is_refused_with_its_three_readings(text):
    for parse in (parse_bytes, parse_rate):
        with pytest.raises(UnitError, match="three readings") as caught:
            parse(text)
        offered = caught.value.todo.removeprefix("Write ").rstrip(".").split(" or ")
        assert len(offered) == 2
        assert all(parse(choice) > 0 for choice in offered), "what the message offers has to be accepted"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_bytes, "1Gb"),
        (parse_bytes, "1 b"),
        (parse_bytes, "1Gbit"),
        (parse_bytes, "300ms"),
        (parse_bytes, "32MiB/s"),
        (parse_rate, "32MiB"),
        (parse_rate, "10gbps"),
        (parse_rate, "10Gb"),
        (parse_rate, "1bps"),
        (parse_duration_s, "5m"),
        (parse_duration_s, "5S"),
        (parse_duration_s, "1GiB"),
        (parse_bytes, ""),
        (parse_bytes, "GiB"),
        (parse_bytes, "-1"),
        (parse_bytes, "1e9"),
        (parse_bytes, "1,5GiB"),
        (parse_bytes, "nan"),
        (parse_bytes, math.nan),
        (parse_bytes, math.inf),
        (parse_bytes, -1),
        (parse_bytes, True),
        (parse_bytes, None),
        (parse_bytes, [1]),
        (parse_bytes, "0.1B"),
    ],
)
def test_what_has_no_single_reading_is_refused(parse, text):
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert repr(text) in caught.value.what or "max" in caught.value.what
    assert caught.value.rule
    assert caught.value.todo


def test_the_field_is_named():
    with pytest.raises(UnitError, match="max-bandwidth is '10G'"):
        parse_rate("10G", field="max-bandwidth")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("300ms", "ms", 300),
        ("0.5s", "ms", 500),
        (300, "ms", 300),
        ("300", "ms", 300),
        ("64MiB", "bytes", 67108864),
        ("1Gbps", "bytes/s", 125_000_000),
        ("20MiB/s", "MiB/s", 20),
        (20, "MiB/s", 20),
        ("20%", "percent", 20),
        ("4", "", 4),
    ],
)
def test_quantities_come_out_in_the_fields_unit(value, unit, expected):
    assert parse_quantity(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("1.5ms", "ms"),
        ("300us", "ms"),
        ("20MB/s", "MiB/s"),
        ("20%", ""),
        ("1GiB", "ms"),
        ("2.5", ""),
        ("1s", "bytes"),
    ],
)
def test_quantities_of_another_kind_or_not_whole_are_refused(value, unit):
    with pytest.raises(UnitError):
        parse_quantity(value, unit)


@given(st.integers(0, 2**63))
def test_exact_sizes_and_rates_round_trip(count):
    assert parse_bytes(format_bytes(count, exact=True)) == count
    assert parse_rate(format_rate(count, exact=True)) == count
    assert parse_rate(format_rate(count, exact=True, bits=True)) == count


@given(st.floats(1, 2**62))
def test_short_forms_can_be_read_back_and_are_close(count):
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=1e-3, abs=0.51)
    assert parse_rate(format_rate(count)) == pytest.approx(count, rel=1e-3, abs=0.51)


@given(st.floats(1e-9, 1e7))
def test_times_can_be_read_back(seconds):
    assert parse_duration_s(format_duration_s(seconds)) == pytest.approx(seconds, rel=1e-3)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["B", "kB", "KiB", "MiB", "GB"]))
def test_reading_keeps_the_order(a, b, unit):
    low, high = sorted((a, b))
    assert parse_bytes(f"{low}{unit}") <= parse_bytes(f"{high}{unit}")
    assert parse_rate(f"{low}{unit}/s") == parse_bytes(f"{low}{unit}")


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_with_a_unit_error(text):
    for parse in (parse_bytes, parse_rate, parse_duration_s):
        try:
            assert parse(text) >= 0
        except UnitError as error:
            assert str(error)


def test_unknown_numbers_are_written_as_such():
    assert format_bytes(math.nan) == "unknown"
    assert format_duration_s(0) == "0 ns" or format_duration_s(0).startswith("0")


def test_values_are_written_with_their_units():
    assert [
        format_value(v, u) for v, u in ((5e8, "bytes/s"), (2**30, "bytes"), (1.5, "s"), (50, "percent"))
    ] == [
        "4 Gbps",
        "1 GiB",
        "1.5 s",
        "50 %",
    ]
    assert format_value("zstd", "") == "zstd" and format_value(0.5, "1") == "0.5"
