"""Multifd's packets against twins that queue page by page, and against live counters to the byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.errors import ParameterError
from migsim.models.multifd.packets import (
    GREETING_BYTES,
    PACKET_BYTES,
    check_multifd,
    counted_bytes,
    multifd_rules,
    multifd_window_pages,
    page_bytes,
    wait_bytes,
    whole_packets,
    zero_page_detection,
)
from migsim.qapi import QemuVersion
from migsim.results import MigrationResult
from migsim.units import PAGE_BYTES
from validation.places import HOSTS, RECORDS

LIVE_10 = [
    *KeptProbes(HOSTS / "probes-multifd-10.0.zip"),
    *(MigrationResult.load(path) for path in sorted(RECORDS.glob("kvm-multifd-*-q100-*.json"))),
]


def bytes_of_packets(raw_pages, waits, channels):
    """The slow twin: pages one after the other, a wait after each number of them that `waits` names."""
    sent, queued = 64 * channels, 0
    for page in range(raw_pages + 1):
        if page in waits:
            sent += (1344 + 4096 * queued if queued else 0) + 1344 * channels
            queued = 0
        if page < raw_pages:
            queued += 1
            if queued == 128:
                sent, queued = sent + 1344 + 4096 * queued, 0
    return sent + (1344 + 4096 * queued if queued else 0)


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4), st.integers(1, 16))
def test_bytes_are_those_of_packets_queued_page_by_page(rounds, channels):
    ends = sorted(set(np.cumsum(rounds).tolist()))
    queued = np.diff([0, *ends]).tolist()
    law = GREETING_BYTES * channels + sum(counted_bytes(n, n) + wait_bytes(n, channels) for n in queued)
    assert law == bytes_of_packets(ends[-1], set(ends), channels)


def packets_of_a_race(pages, channel_wins):
    """The slow twin of 7.2's queue: where the channel is faster, the page just sent is queued a second time."""
    packets, queued = 0, 0
    for _ in range(pages):
        queued += 1
        if queued == 128:
            packets, queued = packets + 1, 1 if channel_wins() else 0
    return packets + queued / 128


@given(st.integers(10_000, 40_000), st.integers(0, 2**32 - 1))
def test_a_race_up_to_7_2_costs_half_a_place_a_packet(pages, seed):
    rng = np.random.default_rng(seed)
    places = multifd_rules("7.2").short_places_a_page
    assert packets_of_a_race(pages, lambda: rng.random() < 0.5) == pytest.approx(
        pages * places / 128, rel=2e-3
    )
    never, always = (packets_of_a_race(pages, lambda wins=wins: wins) for wins in (False, True))
    for bound in (never, always):
        assert bound == pytest.approx(pages * places / 128, rel=4.1e-3)
    assert multifd_rules("8.0").short_places_a_page == 1


def window_of_packets(quota, channels, charged_at):
    """The slow twin: a limiter that looks before each page, and channels that write one packet each at a time."""
    handed, used, queued = 0, 0, 0
    in_channels = 0
    while used <= quota:
        queued += 1
        if queued < 128:
            continue
        queued = 0
        if charged_at == "enqueue":
            used += 525_632
        elif in_channels == channels:
            used += 525_632  # one has written its packet and is free
        else:
            in_channels += 1
        handed += 1
    return 128 * handed


@settings(deadline=None)
@given(st.floats(1e4, 3e7), st.integers(1, 16), st.sampled_from(["enqueue", "write"]))
def test_windows_carry_what_a_limiter_lets_through(quota, channels, charged_at):
    assert float(multifd_window_pages(quota, channels, charged_at)) == window_of_packets(
        quota, channels, charged_at
    )


def test_arrays_go_in_and_come_out():
    assert multifd_window_pages(np.array([1e6, 2e6]), np.array([[1], [4]]), "write").shape == (2, 2)


@pytest.mark.parametrize(
    ("version", "every", "at_end", "charged", "spins"),
    [
        ("4.0", "section", True, "enqueue", True),
        ("7.2", "section", True, "enqueue", True),
        ("8.0", "section", True, "enqueue", True),
        ("8.1", "round", True, "write", False),
        ("9.2", "round", True, "write", False),
        ("10.0", "round", False, "write", False),
    ],
)
def test_rules_by_release(version, every, at_end, charged, spins):
    rules = multifd_rules(version)
    assert (rules.waits_every, rules.waits_at_end, rules.charged_at, rules.spins) == (
        every,
        at_end,
        charged,
        spins,
    )
    assert rules.main_bytes_a_wait == (8 if every == "round" else 0)
    assert rules.greeting_bytes == (64 if every == "round" else 0)  # both came with 8.1


@pytest.mark.parametrize(
    ("version", "machine", "every", "at_end", "zero_pages"),
    [
        ("7.2", "6.0", "section", True, "legacy"),
        ("8.1", "8.0", "section", True, "legacy"),
        ("9.2", "8.0", "section", True, "legacy"),
        ("9.2", "8.1", "round", True, "legacy"),
        ("10.0", "4.0", "section", False, "legacy"),
        ("10.0", "8.2", "round", False, "legacy"),
        ("10.0", "9.0", "round", False, "multifd"),
    ],
)
def test_an_old_machine_type_keeps_old_rules(version, machine, every, at_end, zero_pages):
    of = QemuVersion.parse(machine)
    rules = multifd_rules(version, of)
    assert (rules.waits_every, rules.waits_at_end) == (every, at_end)
    assert rules.main_bytes_a_wait == (8 if every == "round" else 0)
    assert (rules.charged_at, rules.spins) == (
        multifd_rules(version).charged_at,
        multifd_rules(version).spins,
    )
    assert zero_page_detection({}, version, machine=of) == zero_pages
    for who in ("legacy", "multifd", "none"):  # what is set is not the machine type's to say
        assert zero_page_detection({"zero-page-detection": who}, version, machine=of) == who


def test_who_looks_for_zero_pages():
    assert zero_page_detection({}, "8.2") == "legacy"
    assert zero_page_detection({}, "9.0") == "multifd"
    assert zero_page_detection({"zero-page-detection": "none"}, "9.0") == "none"
    assert [page_bytes(who)[1] for who in ("legacy", "multifd", "none")] == [9, 10.5, 4106.5]


@pytest.mark.parametrize(
    ("capabilities", "parameters", "version", "says"),
    [
        (["multifd", "xbzrle"], {}, "7.2", "xbzrle are both on"),
        (["multifd", "compress"], {}, "5.0", "compress are both on"),
        (["multifd"], {"multifd-compression": "zstd"}, "10.0", "'zstd'"),
        (["multifd", "zero-copy-send"], {}, "10.0", "zero-copy-send is on"),
        (["multifd"], {}, "3.1", "QEMU 3.1"),
    ],
)
def test_what_has_no_law_is_refused(capabilities, parameters, version, says):
    with pytest.raises(ParameterError, match=says):
        check_multifd(dict.fromkeys(capabilities, True), parameters, version)


def test_without_multifd_nothing_is_refused():
    check_multifd({"multifd": False, "xbzrle": True}, {"multifd-compression": "zlib"}, "2.4")


def test_there_are_live_records_to_hold_the_law_to():
    assert len(LIVE_10) >= 15


@pytest.mark.parametrize("run", LIVE_10, ids=lambda run: run.name)
def test_live_bytes_are_whole_packets_and_their_pages(run):
    if run.outcome.status != "completed":
        return  # a channel was stopped in the middle of a packet
    ram, channels = run.info["ram"], run.scenario["migration"]["parameters"]["multifd-channels"]
    through = ram["normal"] + ram["duplicate"]
    beside_pages = ram["multifd-bytes"] - PAGE_BYTES * ram["normal"] - GREETING_BYTES * channels
    headers, rest = divmod(beside_pages, PACKET_BYTES)
    assert rest == 0
    rounds = len(run.iterations)
    # Full packets, and for each circle a partial one and the channels' wait.
    least = float(whole_packets(through)) + channels
    assert least <= headers <= least + (rounds + 6) * (channels + 1)
