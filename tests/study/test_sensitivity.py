"""Sensitivity: a guest whose downtime has a closed form, what is spread and what is not, refusals."""

import numpy as np
import pytest

from migsim.errors import ParameterError
from migsim.intervals import NORMAL_DEVIATE
from migsim.study.draws import draw_all, draw_at
from migsim.study.sensitivity import ACTIVITY, COMMON, sensitivity
from tests.factories import host_profile, small_guest, small_terms

GUEST, TERMS = small_guest(), small_terms()

IDLE = GUEST.replace(classes=(), writes_spread=0.0)
"""Writes nothing: its downtime is the sum of three terms, but for whole milliseconds."""


def test_the_indices_of_a_sum_are_the_shares_of_its_variance():
    """Blackout of an idle guest: a sync + device_state_s + load_s; of logarithms normal, each on its own."""
    spread = {"load_s": 0.5, "device_state_s": 0.25}
    profile = host_profile(spread=0.0, **spread)
    profile = profile.replace(
        terms={name: t.replace(unit="relative") if t.unit == "s" else t for name, t in profile.terms.items()}
    )
    made = sensitivity(IDLE, host=profile, of="blackout", samples=512)
    table = made.table.set_index("input")
    assert set(table.index) == spread.keys()
    variance = {name: TERMS[name] ** 2 * np.exp(s**2) * (np.exp(s**2) - 1) for name, s in spread.items()}
    for name in spread:
        expected = variance[name] / sum(variance.values())
        assert table.loc[name, "first"] == pytest.approx(expected, abs=0.06), name
        assert table.loc[name, "total"] == pytest.approx(expected, abs=0.06), name
        factor = np.exp(NORMAL_DEVIATE * spread[name])
        step = TERMS[name] * 1000
        assert table.loc[name, "high"] - made.median == pytest.approx(step * (factor - 1), rel=1e-6)
        assert made.median - table.loc[name, "low"] == pytest.approx(step * (1 - 1 / factor), rel=1e-6)
    assert made.chance_fraction == pytest.approx(0, abs=1e-12) and made.completed_fraction == 1


def test_inputs_are_what_has_a_spread():
    made = sensitivity(GUEST, host=host_profile(spread=0.0, normal_page_s=0.2), samples=4)
    assert set(made.table["input"]) == {COMMON, "normal_page_s", ACTIVITY}
    quiet = sensitivity(
        GUEST.replace(writes_spread=0.0), host=host_profile(spread=0.0, guest_speed=0.2), samples=4
    )
    assert list(quiet.table["input"]) == ["guest_speed"]


def test_the_guest_matters_to_the_rounds_of_a_busy_guest():
    made = sensitivity(
        GUEST.replace(writes_spread=0.3),
        host=host_profile(spread=0.02),
        of="transferred",
        settings={"max-bandwidth": "60MB/s"},
        samples=64,
    )
    assert made.table.iloc[0]["input"] == ACTIVITY
    assert made.table.iloc[0]["total"] > 0.7
    assert 0 < made.chance_fraction < 0.5
    low, high = made.interval
    assert low < made.median < high


def test_what_is_drawn_is_what_the_deviates_say():
    profile = host_profile()
    rng = np.random.default_rng(3)
    drawn = draw_all(profile, 0.1, 300, seed=1)
    logs = np.log([d.terms["normal_page_s"] / TERMS["normal_page_s"] for d in drawn])
    made = [
        draw_at(profile, rng.standard_normal(), {"normal_page_s": rng.standard_normal()}, 0.0)
        for _ in range(300)
    ]
    other = np.log([d.terms["normal_page_s"] / TERMS["normal_page_s"] for d in made])
    assert np.std(logs) == pytest.approx(0.1, rel=0.15) and np.std(other) == pytest.approx(0.1, rel=0.15)
    assert draw_at(profile, 0.0, {}, 0.0).terms == pytest.approx(TERMS)
    assert draw_at(profile, 0.0, {}, np.log(2)).writes_factor == pytest.approx(2)


def test_outcome_can_be_asked_where_many_do_not_complete():
    more = {
        "host": host_profile(spread=0.02),
        "settings": {"max-bandwidth": "20MB/s", "downtime-limit": 20},
        "deadline_s": 20.0,
    }
    guest = GUEST.scaled(0.8).replace(writes_spread=0.5)
    with pytest.raises(ParameterError, match="have no downtime"):
        sensitivity(guest, samples=16, **more)
    made = sensitivity(guest, of="outcome", samples=64, **more)
    assert 0.05 < made.completed_fraction < 0.95
    assert made.table.iloc[0]["input"] == ACTIVITY


def test_a_few_without_the_figure_count_as_the_largest():
    from migsim.study.sensitivity import _Study

    study = _Study.__new__(_Study)
    study.notes, study.figure = [], "downtime"
    values = np.append(np.arange(99.0), np.nan)
    assert study._filled(values)[-1] == 98.0
    assert "1.0%" in study.notes[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"of": "downtimes"}, "downtime"),
        ({"samples": 100}, "powers of two"),
        ({"samples": 1}, "powers of two"),
    ],
)
def test_bad_questions_are_refused(more, words):
    with pytest.raises(ParameterError, match=words):
        sensitivity(GUEST, **({"host": host_profile(), "samples": 4} | more))


def test_nothing_uncertain_is_refused():
    with pytest.raises(ParameterError, match="has a spread"):
        sensitivity(IDLE, host=host_profile(spread=0.0))


def test_the_same_seed_gives_the_same_answer():
    a, b, c = (sensitivity(GUEST, host=host_profile(), samples=8, seed=s) for s in (1, 1, 2))
    assert a.table.equals(b.table) and not a.table.equals(c.table)


def test_a_notebook_shows_it():
    made = sensitivity(GUEST, host=host_profile(), samples=4)
    assert "first order" in made._repr_html_() and "hangs most on" in repr(made)
    assert len(made.to_json_object()["inputs"]) == len(made.table)
