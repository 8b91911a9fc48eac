"""Long draws go to the batch engine, and say the same."""

import math

import pytest

from migsim import predict
from migsim.engine.events.precopy import CallBudget, TooManyCallsError, simulate
from migsim.results import throttle_steps
from migsim.study import draw_runs
from migsim.study.draw_runs import DrawRuns
from migsim.study.draws import figures_of_draw
from migsim.study.question import Question
from tests.factories import small_guest

SETTINGS = (
    {"max-bandwidth": "100Mbps", "downtime-limit": "1ms", "auto-converge": "on", "max-cpu-throttle": 40},
    {"max-bandwidth": "200Mbps", "downtime-limit": "30ms", "auto-converge": "on"},
    {"max-bandwidth": "100Mbps", "downtime-limit": "1ms", "xbzrle": "on"},
    {"max-bandwidth": "100Mbps", "downtime-limit": "1ms", "multifd": "on"},
)


def question(settings, **changes):
    return Question(small_guest(), settings=settings, qemu_version="10.0", deadline_s=60, **changes)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(list(settings)[2:]))
def test_a_long_draw_has_the_event_engines_figures(settings):
    asked = question(settings)
    migration = asked.migration(asked.workload())
    runs = DrawRuns(40)
    runs.calls.left = 0
    compiled, events = runs.simulate(migration, 7), simulate(migration, seed=7)
    whole = figures_of_draw(events)
    assert compiled.figures.keys() == whole.keys()
    for name, value in whole.items():
        assert compiled.figures[name] == pytest.approx(value, rel=1e-3, nan_ok=True), name
    quick = compiled.result
    assert quick.outcome == events.outcome
    assert quick.info["ram"]["total"] == events.info["ram"]["total"]
    assert quick.costs == pytest.approx(events.costs, rel=1e-3)
    assert quick.blackout_ms == pytest.approx(events.blackout_ms, rel=1e-3, nan_ok=True)
    assert len(quick.iterations) == len(events.iterations)
    for column in events.iterations:
        mine, theirs = quick.iterations[column], events.iterations[column]
        assert mine.tolist() == pytest.approx(theirs.tolist(), rel=1e-3, abs=1e-6, nan_ok=True), column
    assert throttle_steps(quick.timeline) == throttle_steps(events.timeline)
    assert quick.guest_speed.equals(events.guest_speed)
    assert compiled.in_detail().downtime_parts_ms == events.downtime_parts_ms


def test_an_answer_does_not_depend_on_where_a_draw_gets_long(monkeypatch):
    answers = []
    for most_calls in (10, 10**9):
        monkeypatch.setattr(draw_runs, "MOST_CALLS", most_calls)
        answers.append(predict(question(SETTINGS[1], draws=9)))
    short, long = answers
    assert short.outcome.status == long.outcome.status
    for name, value in long.medians.items():
        assert short.medians[name] == pytest.approx(value, rel=1e-3, nan_ok=True)
    assert short.example_run.downtime_parts_ms == long.example_run.downtime_parts_ms
    assert len(short.runs) == len(long.runs)


def test_the_event_engine_gives_up_after_so_many_calls():
    asked = question(SETTINGS[2])
    with pytest.raises(TooManyCallsError):
        simulate(asked.migration(asked.workload()), seed=1, calls=CallBudget(100))
    assert math.isfinite(
        simulate(asked.migration(asked.workload()), seed=1, calls=CallBudget(10**9)).total_time_ms
    )


def test_what_the_batch_engine_does_not_model_stays_where_it_is():
    asked = question({"max-bandwidth": "100Mbps", "dirty-limit": "on"}, dirty_ring_size=4096, draws=9)
    runs = DrawRuns(40)
    runs.calls.left = 0
    done = runs.simulate(asked.migration(asked.workload()), 3)
    assert done.in_detail() is done.result
