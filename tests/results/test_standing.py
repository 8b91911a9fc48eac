"""The rounds of a migration that does not converge."""

import pytest

from migsim.engine.events.precopy import simulate
from migsim.results.standing import STANDING, standing_figures
from migsim.study.question import Question
from migsim.units import PAGE_BYTES
from tests.factories import host_profile, two_class_guest

PAGES, RATE = 20_000, 50.0
BANDWIDTH = 40_000_000  # a round takes 2 s: every written page is dirty again after it
LIMIT_MS = 50


def standing(deadline_s=200.0, **settings):
    guest = two_class_guest(128 << 20, (1000, PAGES, RATE), (22_000, 1000))
    host = host_profile(spread=0.0)
    question = Question(guest, host=host, settings=settings, deadline_s=deadline_s, draws=1)
    result = simulate(question.migration())
    assert result.outcome.status == "not-converged"
    return standing_figures(result, downtime_limit_ms=settings["downtime-limit"])


def test_a_saturated_guest_in_closed_form():
    """All written pages are dirty at each sync, and a round lasts as long as their sending."""
    found = standing(**{"max-bandwidth": BANDWIDTH, "downtime-limit": LIMIT_MS})
    assert found.keys() == STANDING.keys()
    assert found["left"] == pytest.approx(PAGES * PAGE_BYTES, rel=0.01)
    assert found["round"] / 1000 == pytest.approx(PAGES * 4104 / BANDWIDTH, rel=0.1)
    assert found["threshold"] == pytest.approx(BANDWIDTH * LIMIT_MS / 1000, rel=0.1)
    assert found["newly-dirty"] == pytest.approx(PAGES * PAGE_BYTES / (found["round"] / 1000), rel=0.05)
    assert found["sent"] == pytest.approx(BANDWIDTH, rel=0.1)
    assert found["guest-speed"] == pytest.approx(100, abs=1)


def test_a_first_pass_that_is_not_done_has_no_rounds():
    found = standing(1.0, **{"max-bandwidth": BANDWIDTH, "downtime-limit": LIMIT_MS})
    assert found.keys() == {"sent", "guest-speed"}
    assert found["sent"] == pytest.approx(BANDWIDTH, rel=0.1)
