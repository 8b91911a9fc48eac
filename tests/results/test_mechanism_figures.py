"""Cache hit rate and throttle steps of a result."""

import pandas as pd

from migsim.results import cache_hit_rate, throttle_steps


def test_the_hit_rate_needs_a_page_looked_up():
    assert cache_hit_rate({}) is None
    assert cache_hit_rate({"xbzrle-cache": {"pages": 0, "cache-miss": 0}}) is None
    assert cache_hit_rate({"xbzrle-cache": {"pages": 1, "cache-miss": 3}}) == 0.25


def test_a_step_begins_when_its_percentage_first_appears():
    timeline = pd.DataFrame({"t_s": [0.1, 0.2, 0.3, 0.4], "cpu-throttle-percentage": [None, 20, 20, 30]})
    assert throttle_steps(timeline) == {20: 0.2, 30: 0.4}
    assert throttle_steps(timeline[["t_s"]]) == {}
