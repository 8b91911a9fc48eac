"""Replay of a trace with multifd against the event engine on the same guest."""

import pytest

from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import ParameterError, ProfileError
from migsim.profiles import HostProfile, Term
from migsim.profiles.terms import MULTIFD_TERMS, MULTIFD_ZERO_TERMS
from migsim.qapi import QemuVersion
from migsim.scenario import MigrationSettings
from migsim.study.replay import replay
from tests.engine.pages.known_traces import stream_trace, workload
from tests.engine.pages.test_replay import GIB_PAGES
from tests.engine.pages.test_replay import TERMS as PLAIN

TERMS = (
    PLAIN
    | dict.fromkeys((*MULTIFD_TERMS, *MULTIFD_ZERO_TERMS), 2e-7)
    | {
        "multifd_cpus": 2.0,
        "multifd_receive_fresh_page_s": 9e-6,
        "multifd_receive_normal_page_s": 1e-6,
        "multifd_channel_wait_s": 1.5e-4,
    }
)
RANDOM = [(20_000, 20_000, 20_000.0, "random")]
ZERO_PAGES = 200_000
SETTINGS = ("multifd=on", "multifd-channels=2", "downtime-limit=100")


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize("limit", ["max-bandwidth=0", "max-bandwidth=100MB/s"])
def test_a_replay_counts_and_lasts_as_the_event_engine_says(tmp_path, version, limit):
    trace = stream_trace(tmp_path / "a.trace", RANDOM, zero_pages=ZERO_PAGES)
    host = HostProfile(terms={n: Term(median=v) for n, v in TERMS.items()}, qemu_version=version)
    settings = MigrationSettings.parse([*SETTINGS, limit], version)
    page_by_page = replay(trace, host=host, settings=settings, qemu_version=version, deadline_s=30.0)
    fluid = simulate(
        SimulationInput(
            workload(GIB_PAGES, RANDOM, ZERO_PAGES),
            TERMS,
            QemuVersion.parse(version),
            settings.parameters,
            settings.capabilities,
            deadline_s=30.0,
        )
    )
    assert page_by_page.outcome.status == fluid.outcome.status == "completed"
    assert page_by_page.total_time_ms == pytest.approx(fluid.total_time_ms, rel=0.03)
    for name in ("multifd-bytes", "normal", "transferred"):
        assert page_by_page.info["ram"][name] == pytest.approx(fluid.info["ram"][name], rel=0.03), name
    assert page_by_page.info["ram"]["duplicate"] == pytest.approx(ZERO_PAGES, abs=2)


def test_a_replay_refuses_what_multifd_refuses(tmp_path):
    trace = stream_trace(tmp_path / "a.trace", RANDOM, zero_pages=ZERO_PAGES)
    plain = HostProfile(terms={n: Term(median=v) for n, v in PLAIN.items()}, qemu_version="10.0")
    with pytest.raises(ProfileError, match="migsim calibrate multifd"):
        replay(trace, host=plain, settings=MigrationSettings.parse(["multifd=on"], "10.0"))
    coded = MigrationSettings.parse(["multifd=on", "multifd-compression=zlib"], "10.0")
    with pytest.raises(ParameterError, match="multifd-compression"):
        replay(trace, host=plain, settings=coded)
