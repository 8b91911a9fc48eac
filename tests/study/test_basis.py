"""What an answer stands on, and the warnings where profile, trace, link and question do not fit."""

from dataclasses import replace
from pathlib import Path

import pytest

import migsim
from migsim.profiles import Term
from migsim.profiles.bundled import bundled_profile
from migsim.study.basis import fastest_bytes_per_s
from migsim.study.question import Question
from migsim.trace import Trace
from migsim.trace.data_map import DataMap
from migsim.units import PAGE_BYTES
from migsim.workload import WorkloadClass
from tests.study.test_question import GUEST

TRACE = Path(__file__).parents[2] / "traces" / "idle-1g.trace"


def warnings_of(**keywords):
    return Question(keywords.pop("guest", TRACE), **keywords).basis.warnings


def changed(trace, **meta):
    """The trace with other meta data."""
    other = Trace.open(trace)
    other.meta = replace(other.meta, **meta)
    return other


def mapped(trace):
    """The trace with a map of its data, which lies first."""
    meta = Trace.open(trace).meta
    data = meta.total_pages - meta.zero_pages
    counts = [min(max(data - begin, 0), 256) for begin in range(0, meta.total_pages, 256)]
    return changed(trace, data_map=DataMap(256, tuple(counts)))


def test_what_fits_gives_no_warning_and_names_all_three():
    basis = Question(TRACE, settings=["max-bandwidth=1Gbps"], link_bytes_per_s="10Gbps").basis
    assert basis.warnings == ()
    assert "bundled" in basis.profile and "2 processors" in basis.profile and "2026-" in basis.profile
    assert "idle-1g.trace" in basis.guest and "stream" in basis.guest
    assert basis.link == "10 Gbps."


def test_the_profile_says_what_it_sends_at_the_most():
    host = bundled_profile("10.0")
    least = min(host.median("normal_page_s"), host.median("burst_page_s"))
    assert fastest_bytes_per_s(host) == PAGE_BYTES / least
    assert "one channel sends at most 21.2 Gbps" in Question(TRACE, host=host).basis.profile


def test_without_a_link_the_speed_of_the_last_pages_is_said():
    host = bundled_profile("10.0")
    assert "none given" in Question(TRACE, host=host).basis.link
    assert (
        f"{PAGE_BYTES * 8 / host.median('burst_page_s') / 1e9:.1f} Gbps"
        in Question(TRACE, host=host).basis.link
    )


def test_the_profile_says_where_its_switchover_was_measured():
    old = bundled_profile("10.0").replace(sides="one-machine", other_sides={})
    assert (
        "on the same cores: a page of it takes two hosts as little as half"
        in Question(TRACE, host=old).basis.profile
    )
    here = Question(TRACE, host=old, sides="one-machine").basis.profile
    assert "on the same cores, as they are here" in here
    both = old.replace(other_sides={"burst_page_s": Term(median=8e-7)})
    assert "cores of its own, as two hosts" in Question(TRACE, host=both).basis.profile
    assert "same cores, as they are here" in Question(TRACE, host=both, sides="one-machine").basis.profile
    real = old.replace(sides="two-hosts")
    assert "which they do not have here" in Question(TRACE, host=real, sides="one-machine").basis.profile


def test_a_bundled_profile_stays_one_on_either_sides():
    for sides in ("two-hosts", "one-machine"):
        assert Question(TRACE, sides=sides).basis.profile.startswith("bundled")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"host": bundled_profile("10.0", "tcg")}, "under KVM, the profile of TCG"),
        ({"host": bundled_profile("7.2")}, "measured with QEMU 7.2"),
        ({"qemu_version": "7.2"}, "and QEMU 7.2 migrates"),
        ({"vcpus": 16}, "16 vCPUs, and the profile's host 2 processors"),
        ({"link_bytes_per_s": "100Gbps"}, "link is 100 Gbps"),
        ({"settings": ["max-bandwidth=50Gbps"]}, "max-bandwidth is 50 Gbps"),
        ({"settings": ["multifd=on", "multifd-channels=8"]}, "multifd-channels is 8"),
        ({"guest": changed(TRACE, lost_events=12)}, "12 events"),
        (
            {"guest": changed(TRACE, complete=False, note="The socket closed.")},
            "cut short: The socket closed.",
        ),
    ],
)
def test_what_does_not_fit_is_a_warning(keywords, words):
    assert any(words in warning for warning in warnings_of(**keywords))


def test_a_migration_longer_than_the_trace_is_a_warning():
    answer = migsim.predict(TRACE, settings=["max-bandwidth=5MB/s"], draws=1, deadline_s=3600.0)
    assert answer.medians["total-time"] > 1000 * Trace.open(TRACE).meta.duration_s
    assert any("lasts" in warning and "the trace" in warning for warning in answer.basis.warnings)


def test_windows_that_decide_and_are_not_in_the_trace_are_a_warning():
    """hot-4g was traced down to 50 ms; a limit of 10 ms hangs on shorter windows, unless little is dirty anyway."""

    def warned(trace, *settings):
        answer = migsim.predict(trace, settings=settings, draws=1)
        return any("shortest window is" in warning for warning in answer.basis.warnings)

    assert warned("traces/hot-4g.trace", "max-bandwidth=1Gbps", "downtime-limit=10ms")
    assert warned("traces/hot-4g.trace", "max-bandwidth=8Gbps", "downtime-limit=40ms")
    assert not warned("traces/hot-4g.trace", "max-bandwidth=1Gbps", "downtime-limit=60ms")
    assert not warned("traces/idle-1g.trace", "max-bandwidth=1Gbps", "downtime-limit=10ms")


def test_every_study_gives_its_basis():
    question = Question(mapped(TRACE), settings=["max-bandwidth=10Gbps"], draws=2)
    basis = migsim.predict(question).basis
    assert basis == question.basis
    assert migsim.sweep(question, vary={"downtime-limit": [300]}).basis == basis
    assert migsim.size(question, require="downtime<1s", minimise="downtime-limit=10:1000").basis == basis
    assert migsim.sensitivity(question, samples=2).basis == basis
    assert migsim.replay(question).scenario["basis"] == basis.as_dict()


def test_a_workload_is_said_not_to_be_a_trace():
    assert "not a trace" in Question(GUEST, qemu_version="10.0").basis.guest


IDLE = GUEST.replace(
    classes=(WorkloadClass(pages=62_144, writes_per_page_per_s=0.0, extents=((0, 62_144),)),)
)
FIRST_PASS = "where its zero pages lie"
AT_ONCE = {"max-bandwidth": "1Gbps", "downtime-limit": "2s"}


@pytest.mark.parametrize(
    ("guest", "settings", "warned"),
    [
        (IDLE, AT_ONCE, True),
        (IDLE.replace(zero_extents=((0, IDLE.zero_pages),)), AT_ONCE, False),
        (IDLE.replace(zero_pages=0), AT_ONCE, False),
        (IDLE, AT_ONCE | {"downtime-limit": "1ms"}, False),
    ],
)
def test_a_stop_within_the_first_pass_says_that_places_decide(guest, settings, warned):
    answer = migsim.predict(guest, qemu_version="10.0", settings=settings, draws=3)
    assert answer.outcome.status == "completed"
    assert any(FIRST_PASS in warning for warning in answer.basis.warnings) == warned


@pytest.mark.parametrize("says_where", [False, True])
@pytest.mark.parametrize("study", [migsim.predict, migsim.replay])
def test_a_trace_that_says_where_data_lies_needs_no_such_warning(study, says_where):
    path = "traces/order-2g-busy.trace"
    settings = {"max-bandwidth": "800Mbps", "downtime-limit": "4s"}
    answer = study(mapped(path) if says_where else path, settings=settings, draws=2)
    basis = answer.scenario["basis"] if study is migsim.replay else answer.basis.as_dict()
    assert any(FIRST_PASS in warning for warning in basis["warnings"]) == (not says_where)
