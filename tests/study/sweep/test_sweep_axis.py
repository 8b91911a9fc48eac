"""Reading what is varied: closed forms, units, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError, ParameterError, UnitError
from migsim.profiles.terms import TERMS
from migsim.study.sweep.axis import QUESTION_AXES, read_axes


def axis(name, values, version="10.0"):
    return read_axes({name: values}, version)[0]


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(2, 50))
def test_a_linear_range_is_evenly_spaced_and_ends_at_its_ends(low, width, count):
    made = axis("link", f"{low}B/s:{low + width * (count - 1)}B/s:{count}").values
    assert made.dtype == np.int64 and len(made) == count
    assert made.tolist() == [low + width * k for k in range(count)]


@given(st.integers(0, 8), st.integers(2, 6))
def test_a_logarithmic_range_has_equal_ratios(exponent, count):
    made = axis("max-bandwidth", f"{10**exponent}B/s:{10 ** (exponent + count - 1)}B/s:{count}:log").values
    assert made.tolist() == [10 ** (exponent + k) for k in range(count)]


def test_values_are_read_in_qapis_units():
    assert axis("max-bandwidth", "1Gbps,32MiB/s").values.tolist() == [125_000_000, 33_554_432]
    assert axis("downtime-limit", [50, "0.3s"]).values.tolist() == [50, 300]
    assert (
        axis("xbzrle", "on|off").values.tolist()
        == axis("xbzrle", [True, False]).values.tolist()
        == [True, False]
    )
    assert axis("deadline", "1min").values.tolist() == [60.0]
    assert axis("load", "30%,0.5").values.tolist() == [0.3, 0.5]
    assert axis("normal_page_s", "2us:4us:3").values.tolist() == pytest.approx([2e-6, 3e-6, 4e-6])
    assert axis("zero-page-detection", "none,legacy").values.tolist() == ["none", "legacy"]
    assert axis("scale.normal_page_s", np.array([0.5, 2.0])).values.tolist() == [0.5, 2.0]


def test_cache_sizes_are_powers_of_two():
    made = axis("xbzrle-cache-size", "16MiB:1GiB:7").values
    assert made.tolist() == [16 << (20 + k) for k in range(7)]
    with pytest.raises(ParameterError, match="only 7 of them differ"):
        axis("xbzrle-cache-size", "16MiB:1GiB:20").values  # noqa: B018 - reading it raises
    with pytest.raises(ParameterError, match="powers of two"):
        axis("xbzrle-cache-size", "16MiB,17MiB")


@given(st.floats(0, 1))
def test_samples_lie_between_the_ends_and_grow(fraction):
    for name, text in (("downtime-limit", "50:2000"), ("link", "1Gbps:9Gbps:log"), ("load", "0.2:0.9")):
        made = axis(name, text)
        low, value, high = made.at([0.0, fraction, 1.0])
        assert made.low == low <= value <= high == made.high


@pytest.mark.parametrize("term", TERMS)
def test_every_host_term_can_be_varied_by_itself_and_by_a_factor(term):
    assert axis(term, "1:2:2").unit == TERMS[term].unit
    factor = axis(f"scale.{term}", "0.5,2")
    assert (factor.unit, factor.values.tolist()) == ("1", [0.5, 2.0])


def test_samples_take_each_listed_value_equally():
    made = axis("xbzrle", "on|off").at((np.arange(100) + 0.5) / 100)
    assert made.sum() == 50


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("max-bandwith", "1Gbps", "max-bandwidth"),
        ("max_bandwidth", "1Gbps", "max-bandwidth"),
        ("normal_pages_s", "1us", "normal_page_s"),
        ("writes-scal", "1", "writes-scale"),
        ("multifd-channels", "1:4:2:3", "LOW:HIGH:COUNT"),
        ("downtime-limit", "300:50:5", "reversed"),
        ("downtime-limit", "300:300:5", "empty"),
        ("downtime-limit", "50:300:1", "at least 2"),
        ("downtime-limit", "50:300:0", "at least 2"),
        ("downtime-limit", "0:300:5:log", "ratio"),
        ("downtime-limit", "", "has no values"),
        ("downtime-limit", [], "has no values"),
        ("downtime-limit", "50,300,50ms", "twice"),
        ("downtime-limit", "50:3000000:3", "0 to 2000000"),
        ("xbzrle", "off:on:2", "It is no number"),
        ("xbzrle", "maybe", "on or off"),
        ("load", "0:1:3", "above 0"),
        ("writes-scale", "-1", "not negative"),
        ("cpu-throttle-initial", "1:5:20", "only 5 of them differ"),
        ("announce-rounds", ":5:2", "LOW:HIGH:COUNT"),
        ("block-bitmap-mapping", ["[]"], "list"),
        ("max-bandwidth", "18446744073709551615", "up to"),
    ],
)
def test_what_cannot_be_varied_is_refused(name, values, words):
    with pytest.raises(MigsimError, match=words):
        axis(name, values).values  # noqa: B018 - reading it raises


def test_a_range_without_a_count_can_only_be_sampled():
    with pytest.raises(ParameterError, match="LOW:HIGH:COUNT"):
        axis("downtime-limit", "50:300").values  # noqa: B018 - reading it raises


def test_an_ambiguous_unit_is_refused():
    with pytest.raises(UnitError, match="three readings"):
        axis("max-bandwidth", "1G:10G:3")
    with pytest.raises(UnitError):
        axis("link", "10G")


def test_a_name_that_the_release_lacks_says_so():
    with pytest.raises(ParameterError, match=r"8\.1"):
        axis("vcpu-dirty-limit", "1:10:2", version="7.2")


def test_own_names_have_units():
    assert all(unit and meaning for unit, meaning in QUESTION_AXES.values())
