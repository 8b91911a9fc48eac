"""Multifd in the event engine: times, windows, counters and the guest's share against closed forms."""

from typing import Any

import numpy as np
import pytest

from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError, ProfileError
from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import HOST_TERMS, MULTIFD_TERMS, MULTIFD_ZERO_TERMS
from migsim.qapi import QemuVersion
from migsim.scenario import MigrationSettings
from migsim.study.predict import predict
from migsim.workload import Workload, WorkloadClass

GIB = 1 << 30
PAGE = 4096
PACKET = 128 * PAGE + 1344
TERMS = dict.fromkeys((*HOST_TERMS, *MULTIFD_TERMS, *MULTIFD_ZERO_TERMS), 0.0) | {
    "guest_speed": 1.0,
    "zero_page_s": 2e-7,
    "multifd_cpus": 64.0,
    "multifd_queue_page_s": 1e-7,
    "multifd_send_normal_page_s": 1e-6,
    "multifd_send_cold_page_s": 1.5e-6,
    "multifd_send_fresh_page_s": 1.5e-6,
    "multifd_receive_normal_page_s": 0.5e-6,
    "multifd_receive_cold_page_s": 2e-6,
    "multifd_receive_fresh_page_s": 4e-6,
    "multifd_send_zero_page_s": 3e-7,
    "multifd_receive_zero_page_s": 1e-7,
}


def guest(data: int, *, hot: int = 0, writes_per_s: float = 0.0, gib: int = 1) -> Workload:
    still = WorkloadClass(pages=data - hot, writes_per_page_per_s=0.0, extents=((hot, data - hot),))
    classes = [still]
    if hot:
        rate = writes_per_s / hot
        classes.insert(0, WorkloadClass(pages=hot, writes_per_page_per_s=rate, extents=((0, hot),)))
    return Workload(
        ram_bytes=gib * GIB,
        ram_total_bytes=gib * GIB,
        zero_pages=gib * GIB // PAGE - data,
        classes=tuple(classes),
    )


def run(workload: Workload, *, version: str = "10.0", terms: dict[str, float] | None = None, **settings: Any):
    fields = {name: settings.pop(name) for name in ("deadline_s", "link_bytes_per_s") if name in settings}
    capabilities = {"multifd": True} | settings.pop("capabilities", {})
    return simulate(
        SimulationInput(
            workload=workload,
            terms=TERMS | (terms or {}),
            version=QemuVersion.parse(version),
            parameters={"max-bandwidth": 0}
            | {name.replace("_", "-"): value for name, value in settings.items()},
            capabilities=capabilities,
            **{"deadline_s": 60.0} | fields,
        )
    )


def test_channels_divide_the_time_of_a_guest_that_stands_still():
    data, zero = 200_000, GIB // PAGE - 200_000
    for channels in (1, 2, 4):
        made = run(guest(data), multifd_channels=channels)
        expected_s = data * 5.5e-6 / channels + zero * max(4e-7 / channels, 1e-7)
        assert made.total_time_ms == pytest.approx(1000 * expected_s, rel=0.01)


def test_the_migration_thread_is_the_last_bound():
    made = run(guest(200_000), multifd_channels=255)
    assert made.total_time_ms == pytest.approx(1000 * GIB / PAGE * 1e-7, rel=0.05, abs=2)


def test_a_link_bounds_what_the_threads_could():
    made = run(guest(200_000), multifd_channels=8, link_bytes_per_s=1e8)
    assert made.total_time_ms == pytest.approx(1000 * made.info["ram"]["multifd-bytes"] / 1e8, rel=0.01)


@pytest.mark.parametrize(
    ("version", "channels", "cpus", "packets", "pages"),
    [
        ("10.0", 2, 64, 50, 128),
        ("10.0", 8, 64, 56, 128),
        ("8.1", 2, 64, 50, 128),
        ("8.0", 8, 1, 48, 128),
        ("7.2", 2, 64, 48, 128),
        ("7.2", 8, 64, 48, 128),
        (
            "7.2",
            8,
            1,
            48,
            127.5,
        ),  # up to 7.2, where processors are short, a race queues half a page a packet twice
    ],
)
def test_a_limited_window_carries_whole_packets_and_those_in_the_channels(
    version, channels, cpus, packets, pages
):
    made = run(
        guest(250_000),
        version=version,
        max_bandwidth=250_000_000,
        multifd_channels=channels,
        terms=dict.fromkeys((name for name in TERMS if "page_s" in name), 1e-9)
        | {"zero_page_s": 1e-9, "multifd_cpus": cpus},
    )
    rates = made.timeline["ram.pages-per-second"].iloc[1:-1]
    assert rates.median() == pytest.approx(packets * pages / 0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("who", "normal", "through_zero"),
    [("legacy", 20_000, 0), ("multifd", 20_000, 1), ("none", GIB // PAGE, 1)],
)
def test_bytes_by_who_finds_the_zero_pages(who, normal, through_zero):
    pages = GIB // PAGE
    made = run(guest(20_000), zero_page_detection=who, multifd_channels=2)
    ram = made.info["ram"]
    assert (ram["normal"], ram["duplicate"]) == (normal, pages - normal)
    packets = (20_000 + through_zero * (pages - 20_000)) / 128
    assert ram["multifd-bytes"] == pytest.approx(normal * PAGE + packets * 1344, abs=40 * 1344)
    zero_bytes = 0 if through_zero else 9 * (pages - 20_000)
    assert ram["precopy-bytes"] + ram["downtime-bytes"] == pytest.approx(zero_bytes, abs=400)
    device = TERMS["device_state_bytes"]
    assert ram["transferred"] >= ram["multifd-bytes"] + zero_bytes + device


def test_before_9_0_the_migration_thread_finds_the_zero_pages():
    slow = {"zero_page_s": 6e-7}
    old, new = (run(guest(128), version=version, terms=slow) for version in ("8.2", "9.0"))
    assert old.total_time_ms == pytest.approx(1000 * GIB / PAGE * 6e-7, rel=0.02)
    assert new.total_time_ms == pytest.approx(1000 * GIB / PAGE * 2e-7, rel=0.02)


def test_waits_are_counted_by_section_or_by_round():
    by_section = run(guest(200_000), version="8.0", multifd_channels=2, downtime_limit=1)
    by_round = run(guest(200_000), version="8.1", multifd_channels=2, downtime_limit=1)
    sections = by_section.total_time_ms / 51  # of 51 ms; rounds are three
    extra = by_section.info["ram"]["multifd-bytes"] - by_round.info["ram"]["multifd-bytes"]
    assert sections > 8
    assert extra / (2.5 * 1344) == pytest.approx(
        sections, abs=3.5
    )  # two packets, and half a header left empty


def test_on_two_processors_the_guest_pays_for_the_channels():
    workload = guest(250_000, hot=1000, writes_per_s=1000.0)
    plenty = run(workload, multifd_channels=2, downtime_limit=1)
    short = run(workload, multifd_channels=2, downtime_limit=1, terms={"multifd_cpus": 2.0})
    # fresh: two pairs of ends with 5.5 us each, all 5.6 us: (2.75 + 5.6) / 2 = 4.175 us, of which the guest gets 2.75
    assert plenty.costs["guest-lost-s"] < 0.02
    sending_s = 250_000 * 4.175e-6
    assert short.total_time_ms / 1000 == pytest.approx(sending_s + 12_144 * 0.35e-6, rel=0.03)
    assert short.costs["guest-lost-s"] == pytest.approx(sending_s * (1 - 2.75 / 4.175), rel=0.2)


def test_a_spinning_migration_thread_takes_a_part_too():
    workload = guest(250_000, hot=1000, writes_per_s=1000.0)
    two = {"multifd_cpus": 2.0}
    waits, spins = (run(workload, version=version, terms=two, downtime_limit=1) for version in ("8.1", "8.0"))
    # (2 b + 5.5) / 2 = 5.5 us beside (b + 5.6) / 2 = 4.175 us
    zero_s = 12_144 * 2e-7
    assert (spins.total_time_ms / 1000 - zero_s) / (waits.total_time_ms / 1000 - zero_s) == pytest.approx(
        5.5 / 4.175, rel=0.03
    )


def test_a_guest_that_shares_its_processors_converges_sooner():
    hot = guest(100_000, hot=30_000, writes_per_s=600_000.0)
    two = {"multifd_cpus": 2.0, "multifd_send_normal_page_s": 3e-6}
    made = run(hot, multifd_channels=1, terms=two, downtime_limit=30, deadline_s=20.0)
    alone = run(
        hot, multifd_channels=1, terms=two | {"multifd_cpus": 64.0}, downtime_limit=30, deadline_s=20.0
    )
    assert made.rounds != alone.rounds or made.total_time_ms != alone.total_time_ms
    assert made.costs["guest-lost-s"] > alone.costs["guest-lost-s"]


def test_a_standstill_goes_on_with_the_channels_bytes():
    made = run(
        guest(200_000, hot=100_000, writes_per_s=1e6),
        max_bandwidth=20_000_000,
        downtime_limit=1,
        deadline_s=400.0,
    )
    assert made.outcome.status == "not-converged"
    ram = made.info["ram"]
    assert ram["multifd-bytes"] == pytest.approx(ram["normal"] * (PAGE + 10.5), rel=0.01)
    assert 0 <= ram["precopy-bytes"] < 0.01 * ram["multifd-bytes"]


def profile(*left_out: str) -> HostProfile:
    terms = {name: Term(median=value) for name, value in TERMS.items() if name not in left_out}
    return HostProfile(terms=terms, qemu_version="10.0")


def settings(**parameters: Any) -> MigrationSettings:
    return MigrationSettings(parameters=parameters, capabilities={"multifd": True})


def test_predict_models_multifd_and_says_nothing_is_left_out():
    made = predict(guest(20_000), host=profile(), settings=settings(), draws=1)
    assert made.example_run.info["ram"]["multifd-bytes"] > 20_000 * PAGE
    assert not [note for note in made.assumptions if "multifd" in note]


def test_a_profile_without_its_terms_names_the_command_that_adds_them():
    with pytest.raises(ProfileError, match=r"multifd_queue_page_s.*migsim calibrate multifd PROFILE"):
        predict(guest(20_000), host=profile("multifd_queue_page_s"), settings=settings(), draws=1)


def test_terms_of_zero_pages_are_asked_for_only_where_channels_find_them():
    bare = profile(*MULTIFD_ZERO_TERMS)
    legacy = settings(**{"zero-page-detection": "legacy"})
    assert predict(guest(20_000), host=bare, settings=legacy, draws=1).completed_fraction == 1
    with pytest.raises(ProfileError, match="multifd_send_zero_page_s"):
        predict(guest(20_000), host=bare, settings=settings(), draws=1)


def test_what_has_no_law_is_refused_before_anything_is_simulated():
    with pytest.raises(ParameterError, match="multifd-compression"):
        predict(guest(20_000), host=profile(), settings=settings(**{"multifd-compression": "zstd"}), draws=1)
    with pytest.raises(ParameterError, match="xbzrle are both on"):
        run(
            guest(20_000),
            version="7.2",
            capabilities={"xbzrle": True},
            terms={"xbzrle_hit_s": 0, "xbzrle_miss_s": 0},
        )


def test_terms_added_to_a_profile_leave_other_draws_alone():
    plain = HostProfile(terms={n: Term(median=1.0, spread=0.3) for n in HOST_TERMS}, qemu_version="10.0")
    more = plain.replace(terms=plain.terms | {n: Term(median=1.0, spread=0.3) for n in MULTIFD_TERMS})
    drawn = more.sample(np.random.default_rng(7))
    assert {n: drawn[n] for n in HOST_TERMS} == plain.sample(np.random.default_rng(7))
