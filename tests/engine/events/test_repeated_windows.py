"""Windows gone through together, beside the same ones one by one; how many events a large guest takes."""

import random
from dataclasses import replace

import numpy as np
import pytest
import simpy

from benchmarks.guests import GIB, oltp, precopy
from migsim.engine.events import precopy as des
from migsim.engine.events.precopy import simulate
from migsim.engine.events.repeated_windows import Mark, Window
from migsim.engine.inputs import SimulationInput
from migsim.engine.segments import cut
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import QemuVersion
from migsim.workload import Workload, WorkloadClass

WINDOW = Window(seconds=0.1, normal=3000.0, duplicate=0.0, ram_stream=12.3e6, other_stream=100.0)


def one_by_one(self):
    return
    yield


@pytest.fixture
def events(monkeypatch):
    counted = [0]
    step = simpy.Environment.step

    def count(environment):
        counted[0] += 1
        return step(environment)

    monkeypatch.setattr(simpy.Environment, "step", count)
    return counted


def some_migration(number):
    draw = random.Random(f"like windows {number}")
    pages, at, classes = draw.choice([1 << 19, 1 << 20, 3 << 20]), draw.randint(0, 99_999), []
    for low, high in ((-1, 1), (-3, 0), (-9, -9)):
        size = draw.randint(1000, 120_000)
        rate = 0.0 if low == -9 else 10 ** draw.uniform(low, high)
        pattern = draw.choice(["random", "sweep"])
        classes.append(
            WorkloadClass(pages=size, writes_per_page_per_s=rate, pattern=pattern, extents=((at, size),))
        )
        at += size + draw.choice([0, 20_000])
    zero = pages - sum(c.pages for c in classes)
    load = draw.choice([1.0, 1.0, 0.4])
    guest = Workload(
        ram_bytes=pages << 12,
        ram_total_bytes=pages << 12,
        zero_pages=zero,
        classes=classes,
        load_fraction=load,
    )
    limits = {
        "max-bandwidth": draw.choice([0, 30_000_000, 300_000_000]),
        "downtime-limit": draw.choice([30, 900]),
    }
    what = precopy(guest, deadline_s=200.0, **limits)
    capability = draw.choice(["", "", "auto-converge"])
    return replace(
        what, capabilities={capability: True} if capability else {}, fresh_pages=draw.choice([None, 9000])
    )


@pytest.mark.parametrize("number", range(24))
def test_together_is_as_one_by_one(number, monkeypatch, events):
    what, seed = some_migration(number), number % 3 or None
    together = simulate(what, seed=seed)
    fewer, events[0] = events[0], 0
    monkeypatch.setattr(des._Precopy, "_repeat_window", one_by_one)
    single = simulate(what, seed=seed)
    assert fewer <= events[0]
    assert together.outcome == single.outcome
    for name in ("total-time", "downtime"):
        assert together.info.get(name) == pytest.approx(single.info.get(name), abs=1)
    np.testing.assert_allclose(
        together.iterations.to_numpy(float), single.iterations.to_numpy(float), rtol=1e-9, atol=1e-4
    )
    assert list(together.timeline.columns) == list(single.timeline.columns)
    for column in together.timeline.select_dtypes("number"):
        # counters are whole numbers, rounded from sums that differ in their last bits
        np.testing.assert_allclose(together.timeline[column], single.timeline[column], rtol=1e-8, atol=4096)


def test_a_window_is_repeated_while_pages_room_and_time_last():
    assert WINDOW.repeated(alike_pages=31_000, spare_bytes=1e12) == 9
    assert WINDOW.repeated(alike_pages=1e9, spare_bytes=3000 * 4096 * 5.5) == 4
    assert WINDOW.repeated(alike_pages=1e9, spare_bytes=1e12, spare_s=0.35) == 2
    assert WINDOW.repeated(alike_pages=4000, spare_bytes=1e12) == 0
    assert Window(0.1, 0.0, 0.0, 0.0, 0.0).repeated(alike_pages=1e9, spare_bytes=1e12) == 0


def test_a_window_with_other_pages_in_it_is_none():
    before = Mark(
        1.0, kind="fresh", alike_pages=2000.0, normal=0.0, duplicate=0.0, ram_stream=0.0, other_stream=0.0
    )
    after = Mark(
        1.1,
        kind="fresh",
        alike_pages=9000.0,
        normal=3000.0,
        duplicate=0.0,
        ram_stream=12.3e6,
        other_stream=100.0,
    )
    assert before.until(after) is None


def test_a_window_that_ends_with_its_kind_is_none():
    sent = {"duplicate": 0.0, "ram_stream": 12.3e6, "other_stream": 100.0}
    before = Mark(
        1.0, kind="fresh", alike_pages=3000.0, normal=0.0, duplicate=0.0, ram_stream=0.0, other_stream=0.0
    )
    assert before.until(Mark(1.1, kind="zero", alike_pages=9000.0, normal=3000.0, **sent)) is None
    assert before.until(Mark(1.1, kind="fresh", alike_pages=9000.0, normal=3000.0, **sent)) is not None


def test_data_that_fill_whole_windows_are_not_sent_again_for_the_zero_pages_after_them():
    pages, data = 1 << 16, 32 * 1000
    idle = WorkloadClass(pages=data, writes_per_page_per_s=0.0, extents=((0, data),))
    guest = Workload(
        ram_bytes=pages * 4096, ram_total_bytes=pages * 4096, zero_pages=pages - data, classes=(idle,)
    )
    what = SimulationInput(
        workload=guest,
        terms=dict.fromkeys(HOST_TERMS, 0.0) | {"normal_page_s": 2e-6, "fresh_page_s": 2e-6},
        version=QemuVersion.parse("10.0"),
        parameters={"max-bandwidth": 1_000_000, "downtime-limit": 1},
    )
    assert simulate(what).info["ram"]["normal"] == data


@pytest.mark.parametrize("gib", [128, 16 * 1024])
def test_events_do_not_grow_with_ram(gib, events):
    made = simulate(precopy(oltp(gib * GIB)))
    assert made.outcome.status == "completed"
    assert events[0] < 500


def test_a_huge_guest_is_cut_less_and_migrates_alike(monkeypatch):
    what = precopy(oltp(1536 * GIB, all_written=True))
    few = simulate(what)
    assert len(cut(what.workload)) < 1000
    monkeypatch.setattr("migsim.engine.segments.HUGE_PAGES", 1 << 40)
    assert len(cut(what.workload)) > 1500
    np.testing.assert_allclose(
        few.iterations.to_numpy(float), simulate(what).iterations.to_numpy(float), rtol=1e-9, atol=1e-4
    )
