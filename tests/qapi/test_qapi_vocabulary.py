"""Versions, defaults, and parsing and checking of parameters and capabilities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.errors import MigsimError, ParameterError, UnitError
from migsim.qapi import (
    CAPABILITIES,
    NEWEST,
    OLDEST,
    PARAMETERS,
    QemuVersion,
    check_capabilities,
    check_parameters,
    defaults,
    parse_setting,
)

VERSIONS = [
    "1.2",
    "1.6",
    "2.4",
    "2.8",
    "2.11",
    "4.0",
    "5.1",
    "5.2",
    "7.2",
    "8.2",
    "9.0",
    "9.1",
    "10.0",
    "10.2",
]
versions = st.builds(QemuVersion, st.integers(0, 20), st.integers(0, 20), st.integers(0, 99))


@given(versions, versions)
def test_versions_are_ordered_as_numbers_and_round_trip(a, b):
    assert (a < b) == ((a.major, a.minor, a.micro) < (b.major, b.minor, b.micro))
    assert QemuVersion.parse(str(a)) == a


@pytest.mark.parametrize("text", ["", "10", "ten.zero", "10.x", "7.2.22.1.1x", "-1.2", None, 10.0])
def test_texts_that_are_not_versions_are_refused(text):
    with pytest.raises(ParameterError, match="version"):
        QemuVersion.parse(text)


def test_versions_of_distributions_are_parsed():
    assert QemuVersion.parse("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)") == QemuVersion(7, 2, 22)
    assert QemuVersion.parse("10.0.2-1~bpo12") == QemuVersion(10, 0, 2)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_default_is_a_value_that_the_version_takes(version):
    values = defaults(version)
    assert check_parameters(values, version) == values
    assert check_capabilities((), version) == frozenset()


@pytest.mark.parametrize("entry", [*PARAMETERS.values(), *CAPABILITIES.values()], ids=lambda e: e.name)
def test_every_entry_is_well_formed(entry):
    assert OLDEST <= entry.available.since <= NEWEST
    assert entry.description
    assert not entry.description.endswith(".")
    names = [*getattr(entry, "needs", ()), *(name for name, _ in getattr(entry, "conflicts", ()))]
    assert set(names) <= set(CAPABILITIES)


@pytest.mark.parametrize(
    ("name", "before", "change", "after"),
    [
        ("max-bandwidth", 33554432, "5.2", 134217728),
        ("downtime-limit", 30, "2.1", 300),
        ("x-checkpoint-delay", 200, "3.1", 20000),
    ],
)
def test_defaults_that_changed(name, before, change, after):
    release = QemuVersion.parse(change)
    earlier = (
        QemuVersion(release.major, release.minor - 1) if release.minor else QemuVersion(release.major - 1, 9)
    )
    assert defaults(earlier)[name] == before
    assert defaults(release)[name] == after
    assert defaults("10.0")[name] == after


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max-bandwidth", "1Gbps", 125_000_000),
        ("max-bandwidth", 0, 0),
        ("downtime-limit", "0.5s", 500),
        ("downtime-limit", "300", 300),
        ("xbzrle-cache-size", "64MiB", 67108864),
        ("auto-converge", "on", True),
        ("auto-converge", False, False),
        ("cpu-throttle-initial", "30%", 30),
        ("multifd-channels", "8", 8),
        ("multifd-compression", "zstd", "zstd"),
        ("cpu-throttle-tailslow", "off", False),
        ("vcpu-dirty-limit", "20MiB/s", 20),
        ("block-bitmap-mapping", "[]", []),
        ("tls-creds", "tls0", "tls0"),
    ],
)
def test_settings_are_parsed_into_qapis_unit(name, value, expected):
    parsed = parse_setting(name, value, "10.0")
    assert parsed == expected
    assert type(parsed) is type(expected)
    assert parse_setting(name, parsed, "10.0") == parsed, "parsing twice changes nothing"


@pytest.mark.parametrize(
    ("name", "value", "version", "says"),
    [
        ("max-bandwith", 1, "10.0", "max-bandwidth"),
        ("max_bandwidth", 1, "10.0", "Did you mean 'max-bandwidth'"),
        ("avail-switchover-bandwidth", 1, "7.2", "8.2 and later"),
        ("switchover-ack", "on", "7.2", "8.1"),
        ("compress-level", 1, "10.0", "2.4 to 9.0"),
        ("multifd", "on", "3.1", "called 'x-multifd'"),
        ("x-multifd", "on", "10.0", "called 'multifd'"),
        ("downtime-limit", 2000001, "10.0", "0 to 2000000 ms"),
        ("cpu-throttle-initial", 0, "10.0", "1 to 99"),
        ("multifd-channels", 256, "10.0", "1 to 255"),
        ("xbzrle-cache-size", "65MiB", "10.0", "powers of two"),
        ("xbzrle-cache-size", 1024, "10.0", "4096"),
        ("multifd-compression", "qpl", "8.2", "9.1"),
        ("multifd-compression", "zst", "8.2", "Did you mean 'zstd'"),
        ("multifd-compression", 3, "8.2", "none"),
        ("auto-converge", "perhaps", "10.0", "on or off"),
        ("multifd-channels", True, "10.0", "whole number"),
        ("max-bandwidth", None, "10.0", "whole number"),
        ("tls-creds", 3, "10.0", "text"),
        ("block-bitmap-mapping", "{", "10.0", "list"),
    ],
)
def test_settings_that_a_version_does_not_take_are_refused(name, value, version, says):
    with pytest.raises(ParameterError) as caught:
        parse_setting(name, value, version)
    assert says in str(caught.value)


def test_ambiguous_units_are_refused_by_name():
    with pytest.raises(UnitError, match="max-bandwidth is '10G'"):
        parse_setting("max-bandwidth", "10G", "10.0")


@given(
    st.sampled_from([*PARAMETERS, *CAPABILITIES]),
    st.one_of(
        st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())
    ),
    st.sampled_from(VERSIONS),
)
def test_any_value_is_parsed_or_refused_with_our_error(name, value, version):
    try:
        parsed = parse_setting(name, value, version)
    except MigsimError:
        return
    assert parse_setting(name, parsed, version) == parsed


@pytest.mark.parametrize(
    ("capabilities", "version", "says"),
    [
        (["multifd", "xbzrle"], "10.0", "does not combine"),
        (["postcopy-ram", "multifd"], "10.0", "does not combine"),
        (["dirty-limit", "auto-converge"], "10.0", "does not combine"),
        (["switchover-ack"], "10.0", "return-path"),
        (["zero-copy-send"], "7.2", "multifd"),
        (["dirty-limit"], "7.2", "8.1"),
        (["postcopy-ram", "multifd"], "8.1", "does not combine"),
        (["multifd", "compress"], "7.2", "does not combine"),
        (["postcopy-ram", "postcopy-preempt", "compress"], "7.2", "does not combine"),
        (["postcopy-ram", "compress"], "2.6", "does not combine"),
        (["postcopy-ram", "compress"], "4.2", "does not combine"),
        (["x-postcopy-ram", "compress"], "2.5", "does not combine"),
        (["zero-blocks"], "11.0", "10.2"),
        (["max-bandwidth"], "10.0", "is a parameter"),
        (["multifdd"], "10.0", "multifd"),
    ],
)
def test_capabilities_that_do_not_go_together(capabilities, version, says):
    with pytest.raises(ParameterError, match=says):
        check_capabilities(capabilities, version)


def test_capabilities_that_are_off_do_not_conflict():
    assert check_capabilities({"multifd": True, "xbzrle": False}, "10.0") == {"multifd"}
    assert check_capabilities(["postcopy-ram", "multifd"], "10.1") == {"postcopy-ram", "multifd"}


@pytest.mark.parametrize(
    ("capabilities", "version"),
    [
        (["multifd", "compress"], "7.1"),
        (["postcopy-ram", "multifd"], "8.0"),
        (["postcopy-ram", "postcopy-preempt", "compress"], "7.1"),
        (["postcopy-ram", "compress"], "5.0"),
        (["zero-blocks"], "10.2"),
    ],
)
def test_releases_on_the_other_side_of_a_rule_take_the_pair(capabilities, version):
    """The release next to the one that brought or dropped the check in migrate_caps_check."""
    assert check_capabilities(capabilities, version) == set(capabilities)


def test_parameters_that_contradict_each_other():
    with pytest.raises(ParameterError, match="below cpu-throttle-initial"):
        check_parameters({"max-cpu-throttle": 20, "cpu-throttle-initial": 30}, "10.0")
    with pytest.raises(ParameterError, match="zero-copy-send"):
        check_parameters({"multifd-compression": "zlib"}, "10.0", ["multifd", "zero-copy-send"])
    with pytest.raises(ParameterError, match="is a capability"):
        check_parameters({"xbzrle": True}, "10.0")
