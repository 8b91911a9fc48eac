"""Sizing against a full grid, impossible requirements, requirements that cannot be read."""

import numpy as np
import pytest

from migsim.errors import MigsimError, ParameterError
from migsim.study.size.requirement import COMPLETES, Requirement, read_requirements
from migsim.study.size.search import size
from migsim.study.size.trials import _RANGES, Trials, default_range
from migsim.study.sweep.axis import read_axes
from migsim.study.sweep.cells import COMPLETED, NOT_CONVERGED, CellResults
from migsim.study.sweep.run import sweep
from tests.factories import host_profile, small_guest

GUEST = small_guest()

HOST = host_profile()


def test_the_least_bandwidth_is_where_a_fine_grid_says():
    made = size(
        GUEST, host=HOST, require="total-time<2.5s", minimise="max-bandwidth=20MB/s:400MB/s:log", draws=9
    )
    about = np.linspace(made.value * 0.9, made.value * 1.1, 41).astype(int)
    fine = sweep(GUEST, host=HOST, vary={"max-bandwidth": about}, draws=9).to_frame()
    # 80 % of 9 draws: 8 of them, so all but the slowest, which is the upper end of the middle 80 %
    good = fine[(fine["outcome"] == "completed") & (fine["total-time-high"] < 2500)]["max-bandwidth"]
    assert made.value == pytest.approx(good.min(), rel=0.006)
    assert made.at_value["met"] >= 0.8
    below = made.table[made.table["value"] < made.value]
    assert len(below) and (below["met"] < 0.8).all()
    assert below["value"].max() > made.value * 0.995
    assert not made.notes


def test_the_greatest_load_is_the_other_end_of_it():
    made = size(
        GUEST,
        host=HOST,
        require=["total-time<4s", "outcome=completed"],
        maximise="writes-scale=0.1:50:log",
        settings={"max-bandwidth": "100MB/s", "downtime-limit": 20},
        draws=9,
        deadline_s=60.0,
    )
    assert 1 < made.value < 50
    beyond = made.table[made.table["value"] > made.value]
    assert (beyond["met"] < 0.8).all() and beyond["value"].min() < made.value * 1.005
    assert "greatest writes-scale" in made.reason


def test_a_whole_number_is_found_exactly():
    made = size(
        GUEST,
        host=HOST,
        require="total-time<10s",
        minimise="downtime-limit=1ms:2s:log",
        settings={"max-bandwidth": "20MB/s"},
        draws=1,
        deadline_s=60.0,
    )
    assert isinstance(made.value, int)
    lower, there = (
        sweep(
            GUEST,
            host=HOST,
            vary={"downtime-limit": [limit]},
            settings={"max-bandwidth": "20MB/s"},
            deadline_s=60.0,
        )["total-time"].item()
        for limit in (made.value - max(1, round(made.value * 0.002)), made.value)
    )
    assert there < 10_000 and not lower < 10_000  # it takes longer, or does not complete


def test_a_larger_confidence_asks_for_more():
    """How busy the guest is decides whether it completes at all, and that is what is uncertain."""
    guest = GUEST.replace(writes_spread=0.4)
    more = {"require": "outcome=completed", "minimise": "max-bandwidth=10MB/s:400MB/s:log", "draws": 20}
    values = [
        size(guest, host=HOST, confidence=c, settings={"downtime-limit": 20}, deadline_s=60.0, **more).value
        for c in (0.5, 0.8, 1.0)
    ]
    assert values[0] < values[1] < values[2]


def test_processes_give_the_same_answer():
    more = {
        "host": HOST,
        "require": "total-time<2.5s",
        "minimise": "max-bandwidth=20MB/s:400MB/s:log",
        "draws": 3,
    }
    a, b = size(GUEST, **more), size(GUEST, **more, jobs=2)
    assert a.value == b.value and a.table.equals(b.table)


def test_listed_values_are_the_only_answers():
    made = size(
        GUEST,
        host=HOST,
        require="total-time<2.5s",
        minimise="max-bandwidth=20MB/s,60MB/s,100MB/s,200MB/s",
        draws=5,
    )
    assert made.value in (60_000_000, 100_000_000, 200_000_000) and len(made.table) == 4


def test_impossible_names_the_requirement_that_binds_and_the_best():
    made = size(
        GUEST, host=HOST, require=["total-time<1h", "downtime<2ms"], minimise="max-bandwidth", draws=5
    )
    assert made.value is None and made.at_value == {}
    assert made.reason.startswith(
        "Impossible: no max-bandwidth from 100 Mbps to 100 Gbps meets downtime < 2 ms"
    )
    best = made.table["downtime-high"].min()
    assert f"keep to is {best:.4g} ms" in made.reason


def test_impossible_says_when_nothing_completes():
    made = size(
        GUEST.scaled(100),
        host=HOST,
        require="downtime<1s",
        minimise="downtime-limit=1ms:20ms",
        draws=3,
        deadline_s=10.0,
        settings={"max-bandwidth": "20MB/s"},
    )
    assert made.value is None
    assert "at best 0% of them complete before the deadline" in made.reason


def test_requirements_at_odds_are_told_apart_from_one_that_binds():
    """A long blackout ends the migration soon; a short one takes more rounds: both at once cannot be had."""
    made = size(
        GUEST,
        host=HOST,
        require=["total-time<2.7s", "downtime<10ms"],
        minimise="downtime-limit=1ms:1s:log",
        settings={"max-bandwidth": "25MB/s"},
        draws=1,
    )
    assert made.value is None
    assert "though each can be met alone" in made.reason
    assert "or more" in made.reason and "or less" in made.reason


class _Made(Trials):
    """Values whose outcome is a rule of the test's own."""

    def __init__(self, axis, rule):
        self.axis, self.rule = axis, rule
        self.requirements, self.confidence = (Requirement("total-time", 100.0),), 0.8
        self.values, self.results = np.empty(0), CellResults.empty(1, 0)
        self.plan = type("P", (), {"draws": 1})()
        self.progress = None

    def add(self, values):
        self.values = np.union1d(self.values, values)
        self.results = CellResults.empty(1, len(self.values))
        good = np.array([self.rule(v) for v in self.values])
        self.results.outcome[:] = np.where(good, COMPLETED, NOT_CONVERGED)
        self.results.figures["total-time"][:] = np.where(good, 50.0, 1000.0)


def answer(rule, *, least=True, text="0:1000"):
    from migsim.study.size.search import _search

    return _search(_Made(read_axes({"downtime-limit": text}, "10.0")[0], rule), least=least)


def test_what_is_not_monotone_is_found_and_said():
    made = answer(lambda v: 333 <= v < 600 or v >= 900)
    assert made.value == 333
    assert "Not every greater value will do" in made.notes[0]
    other = answer(lambda v: 333 <= v < 600 or v >= 900, least=False)
    assert other.value == 1000 and "may go further" in " ".join(other.notes)


def test_a_narrow_window_beside_the_best_value_is_found():
    def window(v):
        return 500 - 20 <= v <= 500 + 20

    assert answer(window).value == 480
    assert answer(window, least=False).value == 520


def test_every_threshold_is_found():
    for threshold in (1, 2, 7, 63, 500, 999, 1000):
        assert answer(lambda v, t=threshold: v >= t).value == pytest.approx(threshold, rel=0.002)
        assert answer(lambda v, t=threshold: v <= t, least=False).value == pytest.approx(threshold, rel=0.002)


def test_requirements_are_read_in_their_units():
    read = read_requirements(
        ["downtime<0.5s", " total-time <= 10min", "transferred<20GiB", "rounds<9", "guest-lost<300"]
    )
    assert [(r.figure, r.limit, r.inclusive) for r in read] == [
        ("downtime", 500, False),
        ("total-time", 600_000, True),
        ("transferred", 20 << 30, False),
        ("rounds", 9, False),
        ("guest-lost", 300, False),
    ]
    assert read_requirements(["outcome=completed"]) == (COMPLETES,)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["downtimes<5ms"], "downtime"),
        (["downtime>5ms"], "an upper bound"),
        (["downtime=5ms"], "an upper bound"),
        (["downtime<5m"], "minutes or milliseconds"),
        (["downtime<5GiB"], "no unit of a time"),
        (["transferred<5G"], "three readings"),
        (["downtime"], "FIGURE<LIMIT"),
        (["downtime<"], "FIGURE<LIMIT"),
        (["outcome=failed"], "can be required is completed"),
        ([], "No requirement"),
    ],
)
def test_what_cannot_be_required_is_refused(words, said):
    with pytest.raises(MigsimError, match=said):
        read_requirements(words)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"minimise": None}, "Exactly one"),
        ({"maximise": "load"}, "Exactly one"),
        ({"minimise": "announce-max"}, "LOW:HIGH"),
        ({"minimise": "max-bandwith"}, "max-bandwidth"),
        ({"minimise": "xbzrle=on|off"}, "is not a number"),
        ({"confidence": 0.0}, "It is a share, above 0 %"),
        ({"draws": 0}, "whole number from 1 on"),
        ({"settings": {"max-bandwidth": 1}}, "set and varied"),
    ],
)
def test_bad_questions_are_refused(more, said):
    with pytest.raises(ParameterError, match=said):
        size(
            GUEST,
            **({"host": HOST, "require": "downtime<1s", "minimise": "max-bandwidth", "draws": 2} | more),
        )


def test_every_default_range_can_be_read():
    for name in _RANGES:
        assert read_axes({name: default_range(name)}, "10.0")[0].name == name
    assert (
        read_axes({"max-bandwidth": default_range("max-bandwidth", 1.25e9)}, "10.0")[0].high == 1_250_000_000
    )


def test_what_changes_nothing_is_said():
    made = size(GUEST, host=HOST, require="downtime<1s", minimise="multifd-channels", draws=1)
    assert made.value == 1 and "changes nothing" in made.notes[0]


def test_refused_values_are_said():
    made = size(
        GUEST, host=HOST, require="downtime<1s", minimise="max-cpu-throttle", draws=1,
        settings={"auto-converge": True, "cpu-throttle-initial": 50},
    )  # fmt: skip
    assert made.value == 50
    assert any("below cpu-throttle-initial" in note for note in made.notes)


def test_a_notebook_shows_the_answer():
    made = size(GUEST, host=HOST, require="total-time<2.5s", minimise="max-bandwidth", draws=2)
    assert "least max-bandwidth" in made._repr_html_() and repr(made).startswith("<Sizing The least")
    assert made.to_json_object()["value"] == made.value
