"""Migration results: metrics, record files, tables, comparison and collections."""

import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migsim.errors import MigsimError, RecordError
from migsim.results import (
    ITERATION_COLUMNS,
    MigrationResult,
    Outcome,
    ResultCollection,
    compare,
    flatten_info,
    iterations_frame,
    summarise,
    timeline_frame,
)

RAM = {"transferred": 10**9, "remaining": 0, "total": 2**32, "dirty-sync-count": 8, "mbps": 812.5}
# an old release's answer is enough for these tests; later ones have more counters
RAM_2_1 = RAM | {"duplicate": 5, "normal": 6, "normal-bytes": 6 * 4096, "dirty-pages-rate": 0, "skipped": 0}


def result(name="busy", total=9456, downtime=29, **other):
    info = {"status": "completed", "total-time": total, "downtime": downtime, "ram": dict(RAM_2_1)}
    fields = {
        "kind": "measured",
        "name": name,
        "qemu_version": "2.1.0",
        "accel": "kvm",
        "outcome": Outcome("completed", "It <converged> & ended."),
        "info": info,
        "iterations": iterations_frame(
            [
                {"dirty_sync_count": 1, "start_s": 0.0, "sync_s": None},
                {"dirty_sync_count": 2, "mbps": np.float64(3)},
            ]
        ),
        "timeline": timeline_frame([(0.1, {"status": "active"}), (9.4, info)]),
        "events": [{"name": "STOP", "seconds": 1.5, "data": {}}],
        "downtime_parts_ms": {"final sync": np.float64(9.0), "flush": 20.0},
        "blackout_ms": 41.0,
        "scenario": {"name": name, "pages": np.int64(7)},
        "guest_log": ["ready", "report <1>"],
    }
    return MigrationResult(**(fields | other))


def same(a, b):
    for name in MigrationResult.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        if isinstance(left, pd.DataFrame):
            pd.testing.assert_frame_equal(left, right)
        elif isinstance(left, float):
            assert left == right or (math.isnan(left) and math.isnan(right))
        else:
            assert left == right, name


def test_numbers_come_from_query_migrate():
    one = result()
    assert (one.total_time_ms, one.downtime_ms, one.transferred_bytes, one.rounds) == (9456, 29, 10**9, 8)
    assert one.verdict == "completed"
    bare = MigrationResult(
        kind="simulated", name="x", qemu_version="1.2", accel="tcg", outcome=Outcome("not-converged")
    )
    assert all(math.isnan(value) for value in bare.metrics().values())
    assert bare.verdict == "not-converged"
    assert bare.replace(iterations=one.iterations).rounds == 2


def test_records_round_trip(tmp_path):
    path = tmp_path / "r.json"
    one = result(intervals={"downtime": (20.0, 60.0)})
    one.save(path)
    same(MigrationResult.load(path), one)
    same_text = path.read_text()
    MigrationResult.load(path).save(path)
    assert path.read_text() == same_text
    assert json.loads(same_text)["format"] == "migsim-record"
    assert "NaN" not in same_text


def test_a_bare_record_round_trips(tmp_path):
    bare = MigrationResult(
        kind="measured", name="x", qemu_version="7.2", accel="kvm", outcome=Outcome("failed")
    )
    bare.save(tmp_path / "r.json")
    same(MigrationResult.load(tmp_path / "r.json"), bare)


def test_a_record_says_what_its_sides_were_pinned_to(tmp_path):
    cores = {"source": [0], "destination": [1]}
    for held, apart in ((cores, True), ({**cores, "destination": [0]}, False)):
        made = result()
        made = made.replace(provenance={**made.provenance, "cores": held})
        made.save(tmp_path / "r.json")
        assert MigrationResult.load(tmp_path / "r.json").cores == held
        assert MigrationResult.load(tmp_path / "r.json").apart is apart


@pytest.mark.parametrize("held", [None, "0:1", {}, {"source": [0]}, {"source": [0], "destination": 1}])
def test_a_record_that_names_no_cores_was_not_pinned(held):
    assert not result().replace(provenance={} if held is None else {"cores": held}).apart


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
    deadline=None,
)
@given(st.data())
def test_a_cut_or_altered_record_is_refused_or_read_but_never_crashes(tmp_path, data):
    path = tmp_path / "r.json"
    result().save(path)
    text = path.read_text()
    cut = data.draw(st.integers(0, len(text) - 3))
    path.write_text(text[:cut])
    with pytest.raises(RecordError, match=r"r\.json"):
        MigrationResult.load(path)
    content = json.loads(text)
    content[data.draw(st.sampled_from([*content]))] = data.draw(
        st.sampled_from([None, 3, -1.5, "x", [], {}, [[1]], {"a": 1}, {"a": [1], "b": [1, 2]}, True])
    )
    path.write_text(json.dumps(content))
    try:
        MigrationResult.load(path)
    except MigsimError as error:
        assert error.exit_code == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "is no migration record"),
        ({"version": 99}, "version 99"),
        ({"outcome": {"status": "done"}}, "done"),
        ({"kind": "guessed"}, "guessed"),
        ({"info": {"total_time": 3}}, "Did you mean 'total-time'"),
        ({"iterations": {"rounds": [1]}}, "rounds"),
        ({"timeline": [1]}, "table"),
    ],
)
def test_foreign_records_are_refused_and_say_why(tmp_path, change, says):
    path = tmp_path / "r.json"
    result().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RecordError, match=says):
        MigrationResult.load(path)


def test_other_files_are_refused(tmp_path):
    for content in (b"", b"[]", b"\x80\x02", b"PK\x03\x04", b"[" * 100_000):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(RecordError):
            MigrationResult.load(tmp_path / "f")
    with pytest.raises(RecordError, match="No such file"):
        MigrationResult.load(tmp_path / "none")


def test_info_that_query_migrate_never_answers_is_not_written(tmp_path):
    with pytest.raises(RecordError):
        result(info={"downtime": -1}).save(tmp_path / "r.json")
    assert not list(tmp_path.iterdir())


def test_iterations_have_the_documented_columns():
    frame = iterations_frame([{"dirty_sync_count": 3, "normal": None, "mbps": 5}])
    assert tuple(frame.columns) == ITERATION_COLUMNS
    assert str(frame["dirty_sync_count"].dtype) == "int64"
    assert frame["normal"].isna().all()
    assert tuple(iterations_frame().columns) == ITERATION_COLUMNS
    with pytest.raises(RecordError, match="Did you mean 'sync_s'"):
        iterations_frame([{"dirty_sync_count": 1, "syncs": 0}])
    with pytest.raises(RecordError, match="dirty_sync_count"):
        iterations_frame([{"mbps": 1}])


def test_the_timeline_is_flat():
    frame = timeline_frame([(0, {"status": "setup"}), (1, {"ram": {"remaining": 7}, "socket-address": [1]})])
    assert list(frame.columns) == ["t_s", "status", "ram.remaining"]
    assert frame["ram.remaining"].tolist()[1] == 7
    assert flatten_info({}) == {}
    assert len(timeline_frame()) == 0


def test_a_result_is_shown_in_one_line_and_in_html():
    one = result(name="<b>", intervals={"downtime": (20.0, 60.0)})
    assert "\n" not in repr(one)
    assert "completed" in repr(one)
    assert "29 ms" in repr(one)
    assert "nan" not in repr(one.replace(info={}, blackout_ms=math.nan))
    tree = ET.fromstring(one._repr_html_())
    text = "".join(tree.itertext())
    assert "<b>" in text, "names are escaped, not dropped"
    assert "20 ms to 60 ms" in text
    ET.fromstring(ResultCollection([one])._repr_html_())


def test_comparison_has_a_row_per_run_and_metric():
    prediction = result(total=10_000, downtime=30, kind="simulated", intervals={"downtime": (20.0, 35.0)})
    table = compare(prediction, [result(), result(total=9972, downtime=40)])
    assert len(table) == 8
    downtime = table[table["metric"] == "downtime"]
    assert downtime["error"].tolist() == [1, -10]
    assert downtime["relative_error"].tolist() == pytest.approx([1 / 29, -0.25])
    assert downtime["inside"].tolist() == [True, False]
    assert table[table["metric"] == "rounds"]["inside"].isna().all()
    assert table["verdict_right"].all()
    assert downtime["run"].tolist() == [1, 2]
    short = summarise(table).set_index("metric")
    assert short.loc["downtime", "measured"] == 34.5
    assert short.loc["downtime", "inside"] == 0.5
    assert math.isnan(short.loc["rounds", "inside"])
    assert short.loc["total-time", "runs"] == 2


def test_wrong_verdicts_are_marked():
    prediction = result(outcome=Outcome("not-converged"), info={"status": "cancelled"})
    table = compare(prediction, result())
    assert not table["verdict_right"].any()
    assert table[table["metric"] != "rounds"]["error"].isna().all()
    assert summarise(table)["verdicts_right"].eq(0).all()
    same_end = compare(prediction, result(outcome=Outcome("cancelled")))
    assert same_end["verdict_right"].all(), "neither converged"


def test_comparison_matches_by_name():
    table = compare(
        [result("a", total=1), result("b", total=2)], ResultCollection([result("b"), result("a")])
    )
    totals = table[table["metric"] == "total-time"]
    assert totals["predicted"].tolist() == [2, 1]
    with pytest.raises(RecordError, match="busy"):
        compare([result("bussy")], [result("busy")])
    with pytest.raises(RecordError, match="two predictions"):
        compare([result(), result()], result())
    assert len(compare(result(), [])) == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=6), st.integers(0, 10**7))
def test_inside_means_between_the_ends(measured, half):
    prediction = result(total=10**6, intervals={"total-time": (1e6 - half, 1e6 + half)})
    table = compare(prediction, [result(total=value) for value in measured])
    inside = table[table["metric"] == "total-time"]["inside"].tolist()
    assert inside == [abs(value - 10**6) <= half for value in measured]


def test_a_collection_summarises_by_scenario(tmp_path):
    for index, (name, total) in enumerate([("a", 1000), ("a", 1400), ("b", 5), ("a", 1100)]):
        result(name, total=total).save(tmp_path / f"{index}.json")
    collection = ResultCollection.load([tmp_path])
    assert len(collection) == 4
    assert list(collection.frame()["name"]) == ["a", "a", "b", "a"]
    short = collection.summary().set_index("name")
    assert short.loc["a", "total_time_ms_median"] == 1100
    assert short.loc["a", "total_time_ms_spread"] == 400
    assert short.loc["b", "total_time_ms_spread"] == 0
    assert short.loc["a", "runs"] == 3
    assert len(collection.named("b")) == 1
    assert len(collection[:2]) == 2
    assert len(ResultCollection().summary()) == 0
    with pytest.raises(RecordError):
        ResultCollection.load([tmp_path / "none.json"])
