"""A stop within the first pass against live migrations: what is left is what lies at the end of RAM."""

from dataclasses import replace
from statistics import median

import pytest

import migsim
from migsim.results import MigrationResult
from migsim.trace import Trace
from validation.places import DATA

FOLDER = DATA / "first-pass"
TRACE = FOLDER / "order-2g-busy.trace"
RUNS = [MigrationResult.load(path) for path in sorted(FOLDER.glob("*.json"))]
SETTINGS = {"max-bandwidth": "800Mbps", "downtime-limit": "4s"}


def asked(trace):
    return migsim.predict(trace, settings=SETTINGS, qemu_version="10.0", draws=20)


def pages_left(run):
    """Pages with data, and zero pages, that a run sent after it stopped the guest."""
    last = run.iterations.iloc[-1]
    return float(last["normal"]), float(last["duplicate"])


def test_the_runs_were_stopped_within_the_first_pass():
    assert len(RUNS) >= 3
    for run in RUNS:
        ram = run.info["ram"]
        assert ram["normal"] + ram["duplicate"] - sum(pages_left(run)) < ram["total"] / 4096


def test_where_data_lies_tells_what_is_left():
    answer = asked(TRACE)
    left = median(pages_left(run)[0] for run in answer.runs)
    assert left == pytest.approx(median(pages_left(run)[0] for run in RUNS), rel=0.15)
    assert answer.medians["rounds"] == median(run.rounds for run in RUNS)
    # the machine was busy with other work: a page took longer than the profile's
    assert answer.medians["downtime"] == pytest.approx(median(run.downtime_ms for run in RUNS), rel=0.4)


def test_without_it_more_data_is_told_to_be_left():
    silent = Trace.open(TRACE)
    silent.meta = replace(silent.meta, data_map=None)
    answer = asked(silent)
    left = median(pages_left(run)[0] for run in answer.runs)
    assert left > 1.4 * median(pages_left(run)[0] for run in RUNS)
    assert any("zero pages lie" in warning for warning in answer.basis.warnings)
