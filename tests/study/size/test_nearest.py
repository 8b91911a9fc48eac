"""The nearest settings with which a migration converges that does not."""

from dataclasses import replace

import pytest

from migsim.study.predict import predict
from migsim.study.size.nearest import ENOUGH, NearestSettings, nearest_settings
from tests.factories import host_profile, two_class_guest

HOST = host_profile(qemu_version="10.0")
BUSY = two_class_guest(512 << 20, (2000, 5000, 20.0), (7000, 90_000))
SETTINGS = {"max-bandwidth": 50_000_000, "downtime-limit": 100}
HOW = {"host": HOST, "draws": 10, "deadline_s": 300.0}


@pytest.fixture(scope="module")
def answer():
    made = predict(BUSY, settings=SETTINGS, **HOW)
    assert made.outcome.status == "not-converged"
    return made


def share(**changed):
    settings = {**SETTINGS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return predict(BUSY, settings=settings, **HOW).completed_fraction


def test_each_setting_alone_suffices_and_hardly_less_does_not(answer):
    found = nearest_settings(answer)
    assert found.searched and found.max_bandwidth_bytes_per_s and found.downtime_limit_ms
    assert share(max_bandwidth=int(found.max_bandwidth_bytes_per_s)) >= ENOUGH
    assert share(max_bandwidth=int(0.97 * found.max_bandwidth_bytes_per_s)) < ENOUGH
    assert share(downtime_limit=int(found.downtime_limit_ms)) >= ENOUGH
    assert share(downtime_limit=int(0.95 * found.downtime_limit_ms)) < ENOUGH
    if found.auto_converge:
        assert found.auto_converge["guest-lost"] > 0
        assert share(auto_converge=True) >= ENOUGH


def test_it_is_one_sentence(answer):
    text = str(nearest_settings(answer))
    assert text.startswith("It converges with max-bandwidth of ") and "downtime-limit of" in text


def test_what_would_take_long_is_not_searched(answer):
    other = answer.question.replace(settings={**SETTINGS, "xbzrle": True})
    found = nearest_settings(replace(answer, question=other))
    assert found == NearestSettings(searched=False) and "migsim size" in str(found)


def test_nothing_found_says_so():
    assert "Neither" in str(NearestSettings())
