import json

import numpy as np
import pytest

from migsim.engine.events.precopy import simulate
from migsim.errors import MigsimError, ProfileError
from migsim.profiles import Term
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import validate_migration_info
from migsim.results.figures import INTERVALS
from migsim.results.standing import STANDING
from migsim.scenario import MigrationSettings
from migsim.study.predict import predict
from migsim.trace import Trace, TraceMeta, TraceWriter
from tests.factories import host_profile, small_terms, two_class_guest

TERMS = small_terms(setup_s_per_gib=1e-4, switch_gap_s=2e-4, dirty_fault_s=1e-6)
HOST = host_profile(TERMS)
GUEST = two_class_guest(
    512 << 20,
    (1000, 5000, 1.0),
    (6000, 95_000),
    other_bytes=16 << 20,
    writes_spread=0.1,
    assumptions=("One of the fit's.",),
)
BUSY = GUEST.scaled(40)
LIMITED = MigrationSettings(parameters={"max-bandwidth": 134217728, "downtime-limit": 60})


def test_the_profile_of_these_tests_has_every_term():
    assert TERMS.keys() == set(HOST_TERMS)


@pytest.mark.parametrize(
    ("version", "accel", "warned"), [("7.2", "tcg", True), ("10.0", "tcg", False), ("7.2", "kvm", False)]
)
def test_a_release_that_misses_writes_under_tcg_is_named(version, accel, warned):
    host = HOST.replace(accel=accel, qemu_version=version)
    made = predict(GUEST, host=host, settings=LIMITED, draws=1)
    assert any("under TCG does not see writes" in note for note in made.assumptions) == warned


def test_the_answer_has_medians_intervals_and_query_migrates_object_of_one_draw():
    made = predict(GUEST, host=HOST, settings=LIMITED, draws=12)
    answer = json.loads(json.dumps(made.to_json_object(), allow_nan=False))
    parts = {"outcome", "reason", "completed-fraction", "medians", "intervals", "basis", "assumptions"}
    assert answer.keys() == parts | {"example-run"}
    run = answer["example-run"]
    validate_migration_info({k: v for k, v in run.items() if k not in {"downtime-parts", "costs"}})
    assert answer["outcome"] == "completed" and answer["completed-fraction"] == 1
    assert answer["assumptions"][0] == "One of the fit's."
    assert answer["intervals"].keys() == set(INTERVALS)
    assert answer["medians"].keys() == set(INTERVALS)
    for name, (low, high) in answer["intervals"].items():
        assert 0 < low <= answer["medians"][name] <= high
    inside = {
        "total-time": run["total-time"],
        "downtime": run["downtime"],
        "transferred": run["ram"]["transferred"],
    }
    for name, value in inside.items():
        low, high = answer["intervals"][name]
        assert low - 1 <= value <= high + 1, name
    assert 0 <= sum(run["downtime-parts"].values()) - run["downtime"] < 1


def test_medians_and_intervals_are_those_of_the_draws():
    """Ends of an interval are draws, so a whole number of ms or bytes; the median lies between two of them."""
    made = predict(GUEST, host=HOST, settings=LIMITED, draws=12)
    for name in INTERVALS:
        drawn = sorted(d[name] for d in made.draws)
        assert made.intervals[name] == (drawn[1], drawn[10])  # floor and ceiling of a tenth of 11
        assert made.medians[name] == (drawn[5] + drawn[6]) / 2
        if name not in ("blackout", "guest-lost"):
            assert all(value == int(value) for value in made.intervals[name])


def test_the_same_seed_gives_the_same_numbers():
    a, b, c = (
        predict(GUEST, host=HOST, settings=LIMITED, draws=6, seed=s).to_json_object() for s in (4, 4, 5)
    )
    assert a == b
    assert a["intervals"] != c["intervals"]


def test_intervals_hold_about_80_percent_of_other_draws():
    made = predict(GUEST, host=HOST, settings=LIMITED, draws=30, seed=1)
    other = predict(GUEST, host=HOST, settings=LIMITED, draws=30, seed=2)
    low, high = made.intervals["total-time"]
    times = np.array([d["total-time"] for d in other.draws])
    assert 0.55 <= np.mean((times >= low) & (times <= high)) <= 0.97


def test_more_uncertainty_widens_the_intervals():
    sure = HOST.replace(terms={n: Term(median=v) for n, v in TERMS.items()})
    guests = GUEST.replace(writes_spread=0.0), GUEST
    # Metrics fine enough that whole milliseconds do not hide the difference.
    widths = [
        {name: high - low for name, (low, high) in made.intervals.items()}
        for made in (
            predict(guest, host=host, settings=LIMITED, draws=15)
            for host, guest in zip((sure, HOST), guests, strict=True)
        )
    ]
    for name in ("total-time", "transferred", "blackout"):
        assert widths[0][name] < widths[1][name], name


def test_every_term_is_drawn_but_the_cost_of_a_fault(monkeypatch):
    """The trace was read with the median cost of a fault: its error cancels only where the draw keeps it."""
    drawn = []

    def watched(what, *, seed=None):
        drawn.append(what.terms)
        return simulate(what, seed=seed)

    monkeypatch.setattr("migsim.study.draw_runs.simulate", watched)
    predict(GUEST, host=HOST, settings=LIMITED, draws=4)
    for name, median in TERMS.items():
        values = {terms[name] for terms in drawn}
        fixed = name == "dirty_fault_s" or median == 0
        assert (values == {median}) if fixed else (len(values) == 4), name


def test_a_guest_that_is_too_busy_does_not_converge_and_says_why():
    made = predict(BUSY, host=HOST, settings=LIMITED, draws=6, deadline_s=30)
    answer = made.to_json_object()
    assert answer["outcome"] == "not-converged"
    assert answer["completed-fraction"] < 0.5
    assert "threshold" in answer["reason"]
    assert answer["example-run"]["status"] == "active" and answer["example-run"]["expected-downtime"] > 60
    for part in (answer["example-run"], answer["intervals"], answer["medians"]):
        assert not {"downtime"} & part.keys()
    assert answer["medians"].keys() == answer["intervals"].keys() == set(STANDING)
    assert answer["medians"]["left"] > answer["medians"]["threshold"] > 0
    assert f"{answer['medians']['left'] / answer['medians']['threshold']:.2g} times" in answer["reason"]
    json.dumps(answer, allow_nan=False)


def test_one_replicate_is_the_expected_run():
    a, b = (predict(GUEST, host=HOST, settings=LIMITED, draws=1, seed=s) for s in (1, 2))
    assert a.example_run.info == b.example_run.info
    assert len(a.draws) == 1


def test_progress_counts_up():
    seen = []
    predict(GUEST, host=HOST, draws=3, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_foreign_release_is_an_assumption():
    made = predict(GUEST, host=HOST, qemu_version="7.2", draws=2)
    assert any("7.2" in note for note in made.basis.warnings)
    assert made.example_run.qemu_version.startswith("7.2")


def test_a_profile_that_lacks_a_term_names_it():
    lame = HOST.replace(terms={n: t for n, t in HOST.terms.items() if n != "load_s"})
    with pytest.raises(ProfileError, match="load_s"):
        predict(GUEST, host=lame, draws=1)


def test_a_setting_that_the_release_lacks_is_refused():
    wrong = MigrationSettings(parameters={"max-bandwith": 1})
    with pytest.raises(MigsimError, match="max-bandwith"):
        predict(GUEST, host=HOST, settings=wrong, draws=1)


def test_from_a_trace_to_a_prediction(tmp_path):
    rng = np.random.default_rng(1)
    meta = TraceMeta(
        collector="stream", qemu_version="10.0.8", accel="kvm", ram_bytes=256 << 20, zero_pages=30_000
    )
    path = tmp_path / "db.trace"
    with TraceWriter(path, meta) as writer:
        for k in range(20):
            writer.add_interval(
                0.25 * k, 0.25 * (k + 1), pages=np.unique(rng.integers(3000, 6000, rng.poisson(500)))
            )
    made = predict(Trace.open(path), host=HOST, settings=LIMITED, draws=5)
    assert made.outcome.status == "completed"
    assert made.fit is not None and made.fit.mode == "stream"
    assert made.example_run.info["ram"]["duplicate"] == pytest.approx(30_000, rel=0.02)


@pytest.mark.parametrize(
    ("on", "fields"),
    [
        ("xbzrle", {"xbzrle-cache"}),
        ("auto-converge", {"cpu-throttle-percentage"}),
        ("dirty-limit", {"dirty-limit-throttle-time-per-round", "dirty-limit-ring-full-time"}),
    ],
)
def test_a_mechanism_answers_with_its_own_fields(on, fields):
    more = {"xbzrle_hit_s": 1e-6, "xbzrle_miss_s": 4e-6, "ring_entries_per_write": 0.9}
    host = HOST.replace(terms=HOST.terms | {name: Term(median=v, spread=0.1) for name, v in more.items()})
    settings = MigrationSettings(
        parameters={"max-bandwidth": 20_000_000, "downtime-limit": 20}, capabilities={on: True}
    )
    made = predict(BUSY, host=host, settings=settings, draws=4, deadline_s=90.0, dirty_ring_size=1024)
    whole = json.loads(json.dumps(made.to_json_object(), allow_nan=False))
    answer = whole["example-run"]
    validate_migration_info(
        {k: v for k, v in answer.items() if k in {"status", "ram", "total-time"} | fields}
    )
    last = answer | {k: v for k, v in made.example_run.timeline.iloc[-1].items() if k in fields}
    assert fields <= last.keys()
    assert not any(on in note for note in whole["assumptions"])
    if on != "xbzrle":
        assert answer["costs"]["guest-lost-s"] > 1.0


def test_a_class_without_a_place_is_laid_behind_the_others():
    """Of a guest written down by hand, the places are not known; no page of it is left out."""
    unplaced = GUEST.replace(classes=tuple(c.replace(extents=()) for c in GUEST.classes))
    placed = GUEST.replace(
        classes=tuple(
            c.replace(extents=((at, c.pages),)) for c, at in zip(GUEST.classes, (0, 5000), strict=True)
        )
    )
    asked = {"host": HOST, "settings": LIMITED, "draws": 3}
    found, given = predict(unplaced, **asked), predict(placed, **asked)
    assert found.draws == given.draws
    assert "one after the other" in found.assumptions[1] and found.assumptions[0] == "One of the fit's."
    assert not any("one after the other" in note for note in given.assumptions)
