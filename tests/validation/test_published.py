"""Published figures: the files are valid, their arithmetic is right, and the answers are those of the page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from migsim.errors import RecordError
from validation.places import PAGES
from validation.published import Fixture, load, load_all
from validation.published.table import Answer, compare, relative_error
from validation.published_predictions import PREDICTORS, answers, page, predictions

FIXTURES = load_all()
PAGES_A_GIB = 262144

SMALL = """
title = "t"
what = "w"
who = "o"
when = "2020-02"
where = ["x"]
qemu-version = "7.2"
[hardware]
known = "k"
[tables.a]
evidence = "V"
says = "s"
[tables.a.rows]
one = { total-ms = 100, span-ms = [10, 20], verdict = "never" }
[use."a.*.*"]
role = "input"
"""


def written(folder: Path, text: str) -> Fixture:
    (folder / "small.toml").write_text(text)
    return load("small", folder)


@pytest.fixture(scope="module")
def answered():
    return answers()


@pytest.fixture(scope="module")
def table(answered):
    return predictions(answered)


def test_every_file_says_what_each_of_its_figures_is_for():
    assert len(FIXTURES) >= 10
    for fixture in FIXTURES.values():
        assert [path for path, _ in fixture.cells() if fixture.use_of(path)]
        assert fixture.hardware.known and fixture.where


def test_fixtures_with_predicted_figures_have_a_predictor_and_no_others():
    answered = {
        name for name, fixture in FIXTURES.items() if fixture.paths("predicted") + fixture.paths("definition")
    }
    assert answered == set(PREDICTORS)


def test_nothing_is_fitted_and_expected_at_once():
    for fixture in FIXTURES.values():
        assert not set(fixture.paths("fitted")) & set(fixture.paths("predicted"))


def test_expectations_are_read_at_the_source():
    for fixture in FIXTURES.values():
        for path in fixture.paths("predicted") + fixture.paths("definition") + fixture.paths("fitted"):
            assert fixture.tables[path.split(".")[0]].evidence in ("V", "D"), path


def test_what_is_not_a_known_miss_stays_within_its_tolerance(table):
    held = table[table.role.isin(["predicted", "definition"]) & (table.miss == "")]
    assert held.loc[held.within.ne(True), ["quantity", "published", "predicted"]].to_dict("records") == []


def test_known_misses_still_miss(table):
    misses = table[table.miss != ""]
    now_met = misses.loc[misses.within.ne(False), ["quantity", "published", "predicted"]]
    assert now_met.to_dict("records") == []
    assert len(misses) == sum(bool(u.miss) for f in FIXTURES.values() for u in f.use.values())


def test_the_page_shows_todays_answers_of_the_models(answered):
    text = (PAGES / "published" / "README.md").read_text(encoding="utf-8")
    assert text == page(FIXTURES, answered)


# Files that are refused.


def test_a_file_is_read(tmp_path):
    small = written(tmp_path, SMALL)
    assert small.cell("a.one.total-ms") == 100
    assert small.cell("a.one.span-ms") == (10, 20)
    assert small.paths("input") == ["a.one.total-ms", "a.one.span-ms", "a.one.verdict"]
    with pytest.raises(RecordError, match=r"Did you mean 'a\.one.total-ms'"):
        small.cell("a.one.totals-ms")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('who = "o"', 'whom = "o"', "whom is unknown"),
        ("total-ms = 100", "total = 100", "ends in a unit"),
        ('verdict = "never"', 'verdict-ms = "never"', "ends in a unit"),
        ('when = "2020-02"', 'when = "2020-13"', "month must be"),
        ('role = "input"', 'role = "expected"', "is 'expected'"),
        ('role = "input"', 'role = "predicted"\nwhy = "w"', "has a tolerance"),
        ('role = "input"', 'role = "input"\ntolerance = 0.1', "has a tolerance"),
        ('role = "input"', 'role = "fitted"', "says why"),
        ('role = "input"', 'role = "fitted"\nwhy = "w"\nmiss = "m"', "can have a miss"),
        ('role = "input"', 'role = "predicted"\nwhy = "w"\ntolerance = 1\nmiss = "m"', "names one cell"),
        ('[use."a.*.*"]', '[use."b.*.*"]', "matches no cell"),
        ('[use."a.*.*"]', '[use."a.*.total-ms"]', "no \\[use\\] matches a.one.span-ms"),
        ('evidence = "V"', 'evidence = "X"', "is 'X'"),
        ('where = ["x"]', "where = []", "where"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, old, new, complaint):
    assert old in SMALL
    with pytest.raises(RecordError, match=complaint):
        written(tmp_path, SMALL.replace(old, new))


@pytest.mark.parametrize(
    "role", ['"fitted"', '"predicted"\ntolerance = 0.1', '"definition"\ntolerance = 0.1']
)
def test_a_figure_from_memory_is_no_expectation(tmp_path, role):
    text = SMALL.replace('"V"', '"M"')
    written(tmp_path, text)
    with pytest.raises(RecordError, match="from memory"):
        written(tmp_path, text.replace('role = "input"', f'role = {role}\nwhy = "w"'))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match="Cannot read"):
        load("nothing", tmp_path)


# The comparison.


@pytest.mark.parametrize(
    ("answer", "error", "within"),
    [(104, 0.04, True), (106, 0.06, False), (94.9, -0.051, False), (95.1, -0.049, True)],
)
def test_an_answer_is_within_or_not(tmp_path, answer, error, within):
    held = SMALL.replace('role = "input"', 'role = "predicted"\nwhy = "w"\ntolerance = 0.05')
    small = written(tmp_path, held)
    rows = compare(small, Answer({"a.one.total-ms": answer, "a.one.span-ms": 15, "a.one.verdict": "never"}))
    assert rows.error[0] == pytest.approx(error)
    assert rows.within.tolist() == [within, True, True]


def test_a_missing_answer_is_an_error(tmp_path):
    held = SMALL.replace('role = "input"', 'role = "predicted"\nwhy = "w"\ntolerance = 0.05')
    with pytest.raises(RecordError, match=r"nothing predicts a\.one.total-ms"):
        compare(written(tmp_path, held), Answer({}))


def test_words_meet_words_only():
    assert math.isnan(relative_error("never", 3.0)) and math.isnan(relative_error(3, "never"))
    assert relative_error((10, 20), 8.0) == pytest.approx(-0.2)


# Arithmetic of the sources' files: derived figures follow from read ones.


def near(value: float, published: float, digits: float) -> bool:
    """Whether a value is a published figure, which is rounded."""
    return abs(value - published) <= digits / 2 * 1.02


def test_quintela_derived():
    fixture = FIXTURES["quintela-multifd-2022"]
    for name, derived in fixture.rows("derived").items():
        row = fixture.rows("precopy")[name]
        gbps = row["downtime-ram-kib"] * 1024 * 8 / (row["downtime-ms"] / 1000) / 1e9
        assert near(gbps, derived["blackout-gbps"], 0.1)
        if "scan-pages-per-s" in derived:
            seconds = (row["total-ms"] - row["setup-ms"] - row["downtime-ms"]) / 1000
            pages = row["duplicate-pages"] + row["normal-pages"]
            assert near(pages / seconds, derived["scan-pages-per-s"], 1e5)


def test_quintela_page_counts_cover_the_guest():
    fixture = FIXTURES["quintela-multifd-2022"]
    for name, row in fixture.rows("multifd").items():
        ram = row["ram-gib"] * PAGES_A_GIB
        pages = row["duplicate-pages"] + row["normal-pages"]
        assert pages >= ram, name
        assert pages <= ram * 1.0002 + 10_000 or "stress" in name


def test_kolhe_derived():
    fixture = FIXTURES["kolhe-mem-prealloc-2017"]
    for name, derived in fixture.rows("stream").items():
        row = fixture.rows("times")[name]
        speed = row["ram-gib"] / (row["migration-s"] - row["start-up-s"])
        assert near(speed, derived["stream-gib-per-s"], 0.01)


def test_log_start_derived():
    fixture = FIXTURES["log-start"]
    x86, arm, derived = (fixture.rows(t) for t in ("x86", "arm64", "derived"))
    assert near(460 / 128, derived["x86"]["start-ms-per-gib"], 0.1) and x86["128g"]["start-ms"] == 460
    assert near(10 / 128, derived["x86"]["all-set-ms-per-gib"], 0.01)
    assert near(arm["4k"]["start-ms"] / 128, derived["arm64-4k"]["start-ms-per-gib"], 0.1)
    assert near(arm["2m"]["start-ms"] / 128, derived["arm64-2m"]["start-ms-per-gib"], 0.01)


def test_zero_scan_derived():
    fixture = FIXTURES["zero-page-scan"]
    for name, derived in fixture.rows("xiang-speed").items():
        row = fixture.rows("xiang")[name]
        pages_per_s = row["ram-gib"] * PAGES_A_GIB / (row["total-ms"] / 1000)
        assert near(pages_per_s, derived["scan-pages-per-s"], 1e5)
    before, after = fixture.rows("liu")["without"], fixture.rows("liu")["with"]
    saved_us = (
        (before["total-ms"] - after["total-ms"]) * 1000 / (before["fault-count"] - after["fault-count"])
    )
    assert near(saved_us, fixture.cell("liu-fault.fault.fault-us"), 0.1)


def test_chenliang_derived_and_the_old_expected_downtime():
    fixture = FIXTURES["chenliang-xbzrle-2014"]
    for name, derived in fixture.rows("derived").items():
        row = fixture.rows("samples")[name]
        assert near(row["xbzrle-bytes"] / row["xbzrle-pages"], derived["page-bytes"], 0.1)
        assert near(row["total-ms"] / row["sync-count"], derived["sync-ms"], 1)
        bytes_per_ms = row["rate-mbps"] * 1e6 / 8 / 1000
        assert int(row["dirty-pages-per-s"] * 4096 / bytes_per_ms) == row["expected-downtime-ms"]


def test_lieven_derived():
    fixture = FIXTURES["lieven-xbzrle-2013"]
    for name, derived in fixture.rows("derived").items():
        row = fixture.rows("runs")[name]
        assert near(row["xbzrle-kib"] * 1024 / row["xbzrle-pages"], derived["page-bytes"], 0.1)


def test_chegu_derived():
    fixture = FIXTURES["chegu-auto-converge-2013"]
    off, on, derived = (fixture.rows(t) for t in ("off", "on", "derived"))
    for side, run in (("off", off["run"]), ("on", on["run"])):
        gbps = run["transferred-kib"] * 1024 * 8 / (run["total-ms"] / 1000) / 1e9
        assert near(gbps, derived[side]["wire-gbps"], 0.01)
        assert run["normal-kib"] == run["normal-pages"] * 4
    assert near(off["run"]["dirty-pages-per-s"] * 4096 * 8 / 1e9, derived["off"]["dirty-gbps"], 0.01)
    limit = fixture.cell("settings.both.downtime-limit-ms")
    assert near(on["run"]["downtime-ms"] / limit, derived["on"]["overshoot-fraction"], 0.01)


def test_downtime_parts_of_cloud_hypervisor_add_up_but_for_rounding():
    parts = FIXTURES["sync-costs"].rows("downtime")["parts"]
    named = [parts[k] for k in ("last-pass-ms", "state-ms", "send-ms", "complete-ms")]
    assert abs(sum(named) - parts["total-ms"]) <= len(named) / 2


def test_the_talks_bitmaps_double_with_the_guest_and_grow_eightfold_with_bytes():
    for row in FIXTURES["talk-2013"].rows("bitmap").values():
        assert row["bit-kib"] == 32 * row["ram-gib"]
        assert row["byte-kib"] == 8 * row["bit-kib"]


def test_gudkov_sample_is_whole():
    sample = FIXTURES["gudkov-sample-2023"].rows("guest")["sample"]
    periods, dirty = sample["period-ms"], sample["dirty-pages"]
    assert len(periods) == len(dirty) == 22
    assert list(periods) == sorted(periods) and list(dirty) == sorted(dirty)
    assert dirty[-1] + sample["zero-pages"] < sample["sampled-pages"]
    grid = FIXTURES["gudkov-sample-2023"].rows("grid")
    assert len(grid) == 8 * 6
    assert all(("total-s" in row) == (row["verdict"] == "completes") for row in grid.values())
