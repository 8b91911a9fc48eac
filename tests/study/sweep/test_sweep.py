"""Sweeps against single predictions; resuming; cells that fail; files."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import migsim
from migsim.engine.batch import grid as batch
from migsim.engine.events.precopy import simulate
from migsim.engine.inputs import SimulationInput
from migsim.errors import HostError, MigsimError, ParameterError
from migsim.qapi import QemuVersion
from migsim.results.figures import figures_of
from migsim.study.predict import predict
from migsim.study.question import Question
from migsim.study.size.search import size
from migsim.study.sweep import cells as sweep_cells
from migsim.study.sweep import layout as sweep_layout
from migsim.study.sweep.run import sweep
from migsim.study.sweep.store import remove_pieces
from tests.factories import host_profile, small_guest, small_terms

GUEST, TERMS = small_guest(), small_terms()

VARY = {"max-bandwidth": "10MB/s:200MB/s:4:log", "downtime-limit": [20, 300]}


def one_cell(workload=GUEST, *, parameters, capabilities=None, **more):
    """The same migration, written down by hand."""
    return simulate(
        SimulationInput(
            workload=workload,
            terms=TERMS,
            version=QemuVersion.parse("10.0"),
            parameters=parameters,
            capabilities=capabilities or {},
            **more,
        )
    )


def test_every_cell_is_the_migration_with_its_values():
    made = sweep(GUEST, host=host_profile(), vary=VARY, deadline_s=60.0)
    assert made["outcome"].dims == ("max-bandwidth", "downtime-limit")
    assert made["downtime-limit"].values.tolist() == [20, 300]
    assert made["max-bandwidth"].attrs["units"] == "bytes/s"
    assert {"completed", "not-converged"} == set(made["outcome"].values.ravel())
    for row in made.to_frame().to_dict("records"):
        parameters = {name: row[name] for name in VARY}
        alone = one_cell(parameters=parameters, deadline_s=60.0)
        assert row["outcome"] == alone.outcome.status, parameters
        for name, value in figures_of(alone).items():  # all NaN where it does not complete
            assert row[name] == pytest.approx(value, rel=1e-3, abs=1, nan_ok=True), name
        at = made.dataset.sel(parameters)
        assert float(at["transferred"]) == pytest.approx(row["transferred"], nan_ok=True)


def test_the_engines_agree():
    a, b = (
        sweep(GUEST, host=host_profile(), vary=VARY, deadline_s=60.0, engine=engine)
        for engine in ("auto", "events")
    )
    assert (a["outcome"] == b["outcome"]).all()
    for name in ("total-time", "downtime", "transferred", "guest-lost"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1.0)


def test_write_rates_vary_from_nothing_up_in_few_batches(monkeypatch):
    """Sobol samples have as many rates as cells: one batch takes those that write, another those that don't."""
    calls = []

    def counted(*args, **more):
        calls.append(args)
        return batch.simulate_grid(*args, **more)

    monkeypatch.setattr(sweep_cells, "simulate_grid", counted)
    vary = {"writes-scale": [0, 0.5, 2, 40], "max-bandwidth": [100_000_000]}
    made = sweep(GUEST, host=host_profile(), vary=vary, deadline_s=60.0)
    assert len(calls) == 2
    for row in made.to_frame().to_dict("records"):
        parameters = {"max-bandwidth": 100_000_000}
        alone = one_cell(GUEST.scaled(row["writes-scale"]), parameters=parameters, deadline_s=60.0)
        assert row["outcome"] == alone.outcome.status
        assert row["transferred"] == pytest.approx(alone.info["ram"]["transferred"], rel=1e-3)
        assert row["rounds"] == alone.rounds
    calls.clear()
    sampled = sweep(
        GUEST, host=host_profile(), vary={"writes-scale": "0.5:2"}, settings=parameters, samples=64
    )
    assert len(np.unique(sampled["writes-scale"])) == 64 and len(calls) <= 32


def test_what_is_varied_reaches_the_guest_and_the_host():
    made = sweep(
        GUEST,
        host=host_profile(),
        vary={
            "writes-scale": [1, 2],
            "scale.device_state_s": [1, 10],
            "link": ["1Gbps", "20Gbps"],
            "load": [0.5, 1],
        },
        settings={"max-bandwidth": "100MB/s"},
    )
    frame = made.to_frame()
    for row in frame.iloc[[0, 5, 10, 15]].to_dict("records"):
        alone = simulate(
            SimulationInput(
                workload=GUEST.scaled(row["writes-scale"]).replace(load_fraction=row["load"]),
                terms=TERMS | {"device_state_s": TERMS["device_state_s"] * row["scale.device_state_s"]},
                version=QemuVersion.parse("10.0"),
                parameters={"max-bandwidth": 100_000_000},
                link_bytes_per_s=row["link"],
            )
        )
        assert row["downtime"] == pytest.approx(alone.downtime_ms, rel=1e-3, abs=1)
        assert row["transferred"] == pytest.approx(alone.transferred_bytes, rel=1e-3)
    longer = made["downtime"].diff("scale.device_state_s")
    assert np.allclose(longer, 9 * TERMS["device_state_s"] * 1000, atol=1.01)


def test_draws_are_those_of_predict():
    made = sweep(
        GUEST,
        host=host_profile(),
        vary={"max-bandwidth": ["30MB/s", "200MB/s"]},
        draws=9,
        engine="events",
        seed=4,
    )
    for bandwidth in (30_000_000, 200_000_000):
        settings = migsim.MigrationSettings(parameters={"max-bandwidth": bandwidth})
        alone = predict(GUEST, host=host_profile(), settings=settings, draws=9, seed=4)
        cell = made.dataset.sel({"max-bandwidth": bandwidth})
        assert str(cell["outcome"].values) == alone.outcome.status
        assert float(cell["completed-fraction"]) == alone.completed_fraction
        for name, (low, high) in alone.intervals.items():
            assert float(cell[f"{name}-low"]) == low, name
            assert float(cell[f"{name}-high"]) == high, name
            assert float(cell[name]) == alone.medians[name], name


def test_common_random_numbers_make_a_difference_clearer():
    """The same draws in both cells: their difference has less noise than that of draws of two seeds."""

    def totals(seed, bandwidth):
        plan = sweep_cells.Plan(
            Question(GUEST, host=host_profile(), draws=40, seed=seed), kinds={"max-bandwidth": "parameter"}
        )
        made = sweep_cells.simulate_cells(plan, {"max-bandwidth": np.array([bandwidth])})
        return made.figures["total-time"][:, 0]

    slow, fast, other = totals(1, 150_000_000), totals(1, 160_000_000), totals(2, 160_000_000)
    assert np.std(slow - fast) < 0.5 * np.std(slow - other)


def test_samples_fill_the_ranges_and_name_their_points():
    made = sweep(
        GUEST,
        host=host_profile(),
        vary={"max-bandwidth": "50MB/s:200MB/s:log", "downtime-limit": "50:400", "auto-converge": "on|off"},
        samples=16,
        seed=3,
    )
    assert made["outcome"].dims == ("sample",) and len(made) == 16
    frame = made.to_frame()
    assert frame["auto-converge"].sum() == 8
    ratio = np.log(frame["max-bandwidth"] / 50e6) / np.log(4)
    assert np.histogram(ratio, bins=4, range=(0, 1))[0].tolist() == [4, 4, 4, 4]
    assert frame["downtime-limit"].between(50, 400).all()
    again = sweep(
        GUEST, host=host_profile(), vary={"max-bandwidth": "50MB/s:200MB/s:log"}, samples=16, seed=4
    ).to_frame()
    assert set(again["max-bandwidth"]).isdisjoint(frame["max-bandwidth"])


def test_what_qemu_would_refuse_is_a_cell_with_a_reason():
    made = sweep(
        GUEST,
        host=host_profile(),
        vary={
            "cpu-throttle-initial": [20, 60],
            "max-cpu-throttle": [40, 80],
            "auto-converge": "on,off",
            "dirty-limit": "on|off",
        },
        dirty_ring_size=4096,
        deadline_s=20.0,
    )
    outcome = made["outcome"]
    below = outcome.sel({"cpu-throttle-initial": 60, "max-cpu-throttle": 40})
    assert (below == "error").all()
    assert (outcome.sel({"auto-converge": True, "dirty-limit": True}) == "error").all()
    good = outcome.sel({"cpu-throttle-initial": 20, "dirty-limit": False})
    assert not (good == "error").any()
    errors = made.errors()
    assert len(errors) == made.counts["error"] == sum(made.error_reasons().values())
    reasons = " ".join(made.error_reasons())
    assert "below cpu-throttle-initial" in reasons and "does not combine them" in reasons
    assert np.isnan(made["total-time"].values[outcome.values == "error"]).all()


@pytest.mark.parametrize("fault", [ZeroDivisionError("made up"), HostError("made up")])
@pytest.mark.parametrize("ask", ["sweep", "size"])
def test_a_fault_of_ours_or_of_the_host_is_no_cells_reason(monkeypatch, fault, ask):
    def brittle(what, *, seed=None):
        if what.parameters["downtime-limit"] > 50:
            raise fault
        return simulate(what, seed=seed)

    monkeypatch.setattr(batch, "simulate", brittle)
    monkeypatch.setattr(batch, "compiles", lambda _migration: False)
    with pytest.raises(type(fault), match="made up"):
        if ask == "sweep":
            sweep(GUEST, host=host_profile(), vary={"downtime-limit": "20:100:5"}, draws=3)
        else:
            size(GUEST, host=host_profile(), require="downtime<1s", minimise="downtime-limit", draws=3)


def test_a_cell_that_an_engine_refuses_is_an_error_and_the_others_stand(monkeypatch):
    def refusing(what, *, seed=None):
        if what.parameters["downtime-limit"] == 60:
            raise ParameterError("made up.", "A rule.", "Do something.")
        return simulate(what, seed=seed)

    monkeypatch.setattr(batch, "simulate", refusing)
    made = sweep(GUEST, host=host_profile(), vary={"downtime-limit": "20:100:5"}, engine="events", draws=3)
    assert made["outcome"].values.tolist() == ["completed", "completed", "error", "completed", "completed"]
    assert made.errors()["reason"].tolist() == ["made up. A rule. Do something."]


def test_where_everything_is_refused_it_is_refused_before_the_work():
    with pytest.raises(ParameterError, match="dirty ring"):
        sweep(GUEST, host=host_profile(), vary={"dirty-limit": "on", "downtime-limit": "20:100:5"})
    with pytest.raises(MigsimError, match="no term"):
        sweep(GUEST, host=host_profile(), vary={"xbzrle": "on"})


def test_rules_between_settings_are_held_to_with_what_is_varied():
    made = sweep(GUEST, host=host_profile(), vary={"return-path": "off|on"}, settings=["switchover-ack=on"])
    assert made["outcome"].values.tolist() == ["error", "completed"]
    with pytest.raises(ParameterError, match="requires both"):
        sweep(GUEST, host=host_profile(), vary={"downtime-limit": [20, 300]}, settings=["switchover-ack=on"])
    off = sweep(
        GUEST,
        host=host_profile(),
        vary={"downtime-limit": [300]},
        settings=["postcopy-ram=off", "xbzrle=off"],
    )
    assert not any("not modelled" in note for note in off.assumptions)
    on = sweep(GUEST, host=host_profile(), vary={"downtime-limit": [300]}, settings={"release-ram": True})
    assert any("release-ram changes nothing here" in note for note in on.assumptions)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vary": {}}, "Nothing varies"),
        ({"samples": 0}, "samples is 0"),
        ({"jobs": 0}, "jobs is 0"),
        ({"draws": -1}, "draws is -1"),
        ({"engine": "fast"}, "engine is 'fast'"),
        ({"settings": {"downtime-limit": 3}}, "set and varied"),
        ({"settings": {"max-bandwith": 3}}, "max-bandwidth"),
        ({"settings": ["max-bandwidth"]}, "NAME=VALUE"),
        ({"vary": {"downtime-limit": "50:300"}}, "LOW:HIGH:COUNT"),
        ({"qemu_version": "0.9"}, "cannot be predicted"),
    ],
)
def test_bad_input_is_refused_before_the_work(more, words, monkeypatch):
    monkeypatch.setattr(sweep_cells, "simulate_grid", None)
    with pytest.raises(ParameterError, match=words):
        sweep(GUEST, **({"host": host_profile(), "vary": {"downtime-limit": "20:100:5"}} | more))


def test_more_cells_than_memory_holds_are_refused(monkeypatch):
    with pytest.raises(
        ParameterError, match=r"10,000,000,000,000 cells .* need .* free.* at most [\d,]+ cells"
    ):
        sweep(GUEST, host=host_profile(), vary={"writes-scale": "1:2:10000000", "load": "0.1:1:1000000"})
    monkeypatch.setattr(sweep_layout, "usable_bytes", lambda: 16_000)
    with pytest.raises(ParameterError, match="100 cells"):
        sweep(GUEST, host=host_profile(), vary={"downtime-limit": "20:119:100"})
    with pytest.raises(ParameterError, match="--samples 100"):
        sweep(GUEST, host=host_profile(), vary={"downtime-limit": "20:119"}, samples=100)


def test_what_changes_nothing_is_said():
    made = sweep(GUEST, host=host_profile(), vary={"announce-max": [1, 2], "downtime-limit": [20, 300]})
    assert [note.split()[0] for note in made.notes] == ["announce-max"]


def test_processes_give_the_same_numbers():
    more = {"host": host_profile(), "vary": {"max-bandwidth": "30MB/s:200MB/s:24"}, "draws": 2}
    here, there = sweep(GUEST, **more), sweep(GUEST, **more, jobs=2)
    assert here.dataset.drop_attrs(deep=False).identical(there.dataset.drop_attrs(deep=False))


def test_a_process_that_dies_is_an_error_and_what_is_finished_is_kept(tmp_path):
    import psutil

    def kill(_done, _of):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it died of the kill before
                if "--process-name" in child.cmdline():  # joblib's workers
                    child.kill()

    more = {
        "host": host_profile(),
        "vary": {"max-bandwidth": "30MB/s:200MB/s:48"},
        "draws": 20,
        "engine": "events",
    }
    with pytest.raises(HostError, match="process of the sweep died"):
        sweep(GUEST, **more, jobs=2, folder=tmp_path, progress=kill)
    assert list(tmp_path.glob("*.parquet"))
    resumed = sweep(GUEST, **more, jobs=2, folder=tmp_path)
    assert "already" in resumed.notes[0] and not resumed.counts["error"]


def test_progress_counts_cells():
    seen = []
    sweep(
        GUEST, host=host_profile(), vary={"downtime-limit": "20:119:20"}, progress=lambda *a: seen.append(a)
    )
    assert seen[-1] == (20, 20) and len(seen) > 1 and seen == sorted(seen)


def test_a_folder_keeps_what_is_finished(tmp_path, monkeypatch):
    vary = {"downtime-limit": "20:119:40"}
    whole = sweep(GUEST, host=host_profile(), vary=vary)
    done = []

    def stops(plan, columns):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(columns)
        return made(plan, columns)

    from migsim.study.sweep import jobs as sweep_run
    from migsim.study.sweep.piece import simulate_piece as made

    monkeypatch.setattr(sweep_run, "simulate_piece", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    monkeypatch.setattr(sweep_run, "simulate_piece", made)
    resumed = sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)
    assert resumed.dataset.drop_attrs(deep=False).identical(whole.dataset.drop_attrs(deep=False))
    kept = sum(len(columns["downtime-limit"]) for columns in done)
    assert any(f"{kept} of 40 cells" in note for note in resumed.notes)
    monkeypatch.setattr(sweep_run, "simulate_piece", None)  # nothing is left to do
    assert len(sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)) == 40


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "foreign", "swap"])
def test_a_damaged_piece_is_named_and_made_again(tmp_path, change):
    vary = {"downtime-limit": "20:119:24"}
    first = sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)
    files = sorted(tmp_path.glob("*.parquet"))
    data = files[0].read_bytes()
    spoilt = {
        "flip": data[:60] + bytes([data[60] ^ 0xFF]) + data[61:],
        "cut": data[: len(data) // 2],
        "empty": b"",
        "foreign": b"PAR1 is not all of it",
        "swap": files[1].read_bytes(),
    }
    files[0].write_bytes(spoilt[change])
    again = sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)
    assert again.dataset.drop_attrs(deep=False).identical(first.dataset.drop_attrs(deep=False))
    assert [str(files[0]) in note for note in again.notes] == [True, False]
    assert "computed again" in again.notes[0]
    third = sweep(GUEST, host=host_profile(), vary=vary, folder=tmp_path)
    assert len(third.notes) == 1 and "24 of 24" in third.notes[0]


@pytest.mark.parametrize(
    "other",
    [
        {"host": host_profile(spread=0.2)},
        {"settings": {"max-bandwidth": 10**8}},
        {"deadline_s": 9.0},
        {"seed": 2},
        {"qemu_version": "7.2"},
        {"load": 0.5},
    ],
)
def test_another_sweep_in_the_same_folder_takes_nothing_of_it(tmp_path, other):
    first = {"host": host_profile(), "vary": {"downtime-limit": [20, 300]}, "draws": 2, "folder": tmp_path}
    sweep(GUEST, **first)
    assert sweep(GUEST, **first).notes
    assert not any("already" in note for note in sweep(GUEST, **(first | other)).notes)


def test_a_law_that_changes_makes_every_cell_anew(tmp_path, monkeypatch):
    from migsim.study.sweep import piece as sweep_piece

    more = {"host": host_profile(), "vary": {"downtime-limit": [20, 300]}, "folder": tmp_path}
    sweep(GUEST, **more)
    monkeypatch.setattr(sweep_piece, "laws_hash", lambda: "other laws")
    assert not sweep(GUEST, **more).notes


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_cells, "simulate_grid", None)
    file = tmp_path / "file"
    file.write_text("x")
    for folder in (file, file / "below"):
        with pytest.raises(HostError, match="Cannot keep"):
            sweep(GUEST, host=host_profile(), vary={"downtime-limit": [20]}, folder=folder)


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    """A real process, killed with SIGKILL."""
    script = tmp_path / "run.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.factories import host_profile, small_guest
from migsim.study.sweep.run import sweep
sweep(small_guest(), host=host_profile(), vary={{"max-bandwidth": "30MB/s:200MB/s:64"}}, draws=20,
      folder={str(tmp_path / "cells")!r}, engine="events", progress=lambda done, of: print(done, flush=True))
""",
        encoding="utf-8",
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    victim = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    for line in victim.stdout:
        if int(line) >= 16:
            break
    victim.send_signal(signal.SIGKILL)
    victim.wait(timeout=20)
    kept = len(list((tmp_path / "cells").glob("*.parquet")))
    assert kept >= 1
    more = {"vary": {"max-bandwidth": "30MB/s:200MB/s:64"}, "draws": 20, "engine": "events"}
    resumed = sweep(GUEST, host=host_profile(), folder=tmp_path / "cells", **more)
    assert "already" in resumed.notes[0] and len(resumed) == 64
    (tmp_path / "cells" / f".{'0' * 40}.parquet.half").write_text("left by a kill")
    remove_pieces(tmp_path / "cells")
    assert not (tmp_path / "cells").exists()


def test_only_pieces_are_removed(tmp_path):
    sweep(GUEST, host=host_profile(), vary={"downtime-limit": [20]}, folder=tmp_path)
    (tmp_path / "mine.parquet").write_text("not a piece")
    remove_pieces(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.parquet"]


def test_files_hold_what_the_sweep_holds(tmp_path):
    made = sweep(GUEST, host=host_profile(), vary={"xbzrle": "off", **VARY}, draws=2, deadline_s=30.0)
    frame = made.to_frame()
    for ending in ("parquet", "csv", "nc"):
        made.save(tmp_path / f"s.{ending}")
    parquet = pd.read_parquet(tmp_path / "s.parquet")
    assert parquet["outcome"].tolist() == frame["outcome"].tolist()
    pd.testing.assert_frame_equal(
        parquet.drop(columns=["outcome", "reason"]), frame.drop(columns=["outcome", "reason"])
    )
    assert len(pd.read_csv(tmp_path / "s.csv")) == 8
    with xr.open_dataset(tmp_path / "s.nc") as back:
        assert back["outcome"].values.tolist() == made["outcome"].values.tolist()
        np.testing.assert_array_equal(back["total-time"], made["total-time"])
        np.testing.assert_array_equal(back["max-bandwidth"], made["max-bandwidth"])
        assert back.attrs["qemu-version"] == "10.0.8" and "provenance" in back.attrs
    with pytest.raises(MigsimError, match="parquet"):
        made.save(tmp_path / "s.parket")


def test_a_notebook_shows_it():
    made = sweep(GUEST, host=host_profile(), vary=VARY, deadline_s=30.0)
    shown = made._repr_html_()
    assert "max-bandwidth" in shown and "downtime" in shown and "<script" not in shown
    assert repr(made).startswith("<Sweep max-bandwidth (4) x downtime-limit (2): ")


def test_a_cell_is_no_python_object():
    """Columns, as wide as they need to be: 200,000 errors cost no more than the arrays."""
    import tracemalloc

    cells = 200_000
    kinds = {"downtime-limit": "parameter", "dirty-limit": "choice"}
    plan = sweep_cells.Plan(Question(GUEST, host=host_profile(), draws=1), kinds=kinds)
    columns = {"downtime-limit": np.arange(cells), "dirty-limit": np.ones(cells, bool)}
    tracemalloc.start()
    drawn = sweep_cells.simulate_cells(plan, columns)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (drawn.outcome == sweep_cells.ERROR).all()
    assert peak < cells * 250


def test_the_plan_can_be_replaced():
    plan = sweep_cells.Plan(Question(GUEST, host=host_profile(), draws=1))
    assert replace(plan, question=plan.question.replace(draws=3)).draw_all()[0].seed is not None


def test_a_process_keeps_the_memory_that_a_piece_gave_back():
    """Arrays as small as a piece's columns come from a heap that the C library would trim after each piece."""
    program = """
import resource, sys
import numpy as np
from migsim.study.sweep import jobs
if sys.argv[1] == "kept":
    jobs._keep_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    columns = [np.ones(8000) for _ in range(100)]
    del columns
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)
        for how in ("kept", "as it is")
    )
    assert kept < 200 < 1000 < given_back
