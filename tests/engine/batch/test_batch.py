"""The batch engine against the event engine, figure by figure, over random scenarios."""

from __future__ import annotations

import cProfile
import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migsim.engine.batch import compile as batch_compile
from migsim.engine.batch.grid import simulate_grid, simulate_many
from migsim.engine.batch.result import FIGURE_NAMES
from migsim.engine.batch.sending import full_window
from migsim.engine.inputs import SimulationInput
from migsim.errors import HostError, ParameterError
from migsim.profiles.terms import HOST_TERMS
from migsim.qapi import QemuVersion
from migsim.workload import PageContent, Workload, WorkloadClass

MIB = 1 << 20
NOT_WHOLE = ("mbps", "blackout_ms", "guest_lost_s", "xbzrle_cache_miss_rate", "xbzrle_encoding_rate")
MEDIANS = dict.fromkeys(HOST_TERMS, 0.0) | {
    "connect_s": 1e-3,
    "setup_base_s": 5e-3,
    "setup_s_per_gib": 1e-3,
    "sync_base_s": 2e-4,
    "sync_s_per_gib": 3e-5,
    "zero_page_s": 3e-7,
    "normal_page_s": 2e-6,
    "cold_page_s": 3e-6,
    "fresh_page_s": 1e-5,
    "burst_page_s": 2e-6,
    "burst_cold_page_s": 3e-6,
    "burst_fresh_page_s": 9e-6,
    "window_overhead_s": 3e-4,
    "window_overhead_s_per_gib_per_s": 2e-3,
    "switch_gap_s": 2e-4,
    "stop_s": 1e-3,
    "device_state_s": 4e-3,
    "load_s": 3e-3,
    "dirty_fault_s": 3e-6,
    "device_state_bytes": 80_000.0,
    "xbzrle_hit_s": 7e-7,
    "xbzrle_miss_s": 2e-6,
    "multifd_cpus": 2.0,
    "multifd_queue_page_s": 2e-7,
    "multifd_queue_wait_s": 1e-5,
    "multifd_channel_wait_s": 2e-5,
    "multifd_send_normal_page_s": 1e-6,
    "multifd_send_cold_page_s": 1e-6,
    "multifd_send_fresh_page_s": 1e-6,
    "multifd_send_zero_page_s": 2e-7,
    "multifd_receive_normal_page_s": 1e-6,
    "multifd_receive_cold_page_s": 2e-6,
    "multifd_receive_fresh_page_s": 8e-6,
    "multifd_receive_zero_page_s": 1e-7,
}

contents = st.one_of(
    st.none(),
    st.builds(
        PageContent,
        bytes_a_write=st.sampled_from([8, 64, 1024]),
        places=st.sampled_from([16, 512]),
        in_order=st.booleans(),
        whole_fraction=st.sampled_from([0.0, 0.25]),
    ),
)


def zero_after(pages, zero):
    """Zero pages in two stretches, the second at the end of RAM: among the classes or behind them."""
    first = min(zero // 3, pages // 4)
    return tuple(e for e in ((pages // 4 - first, first), (pages - zero + first, zero - first)) if e[1])


@st.composite
def workloads(draw, coded=False):
    """A guest of 64 MiB to 3 GiB: up to three classes, in one or two extents each, idle data, zero pages."""
    pages = draw(st.integers(1, 48)) * 16384
    at, used, classes = 0, 0, []
    for _ in range(draw(st.integers(1 if coded else 0, 3))):
        size = min(int(10 ** draw(st.floats(1, 5))), pages - at - 1)
        if size < 9:
            break
        gap = min(draw(st.sampled_from([0, 0, 1000, 150_000])), pages - at - size - 1)
        third = size // 3
        extents = ((at, third), (at + third + gap, size - third)) if gap else ((at, size),)
        a_second = 10 ** draw(st.floats(2, 5.7))
        classes.append(
            WorkloadClass(
                pages=size,
                writes_per_page_per_s=a_second / size if draw(st.integers(0, 5)) else 0.0,
                pattern=draw(st.sampled_from(["random", "random", "sweep"])),
                extents=extents,
                content=draw(contents) if coded else None,
            )
        )
        at, used = at + gap + size, used + size
    idle = int((pages - at) * draw(st.sampled_from([0.0, 0.5, 1.0])))
    if idle:
        classes.append(WorkloadClass(pages=idle, writes_per_page_per_s=0.0, extents=((at, idle),)))
    return Workload(
        ram_bytes=pages * 4096,
        ram_total_bytes=pages * 4096,
        zero_pages=pages - used - idle,
        zero_extents=draw(st.sampled_from([(), zero_after(pages, pages - used - idle)])),
        classes=tuple(classes),
        load_fraction=draw(st.sampled_from([1.0, 1.0, 0.4])),
        wandering=draw(st.sampled_from([(0.0, 0.0, 0.0), (0.1, 0.05, 0.0), (0.3, 0.2, 0.2)])),
    )


@st.composite
def inputs(draw, capability=None, versions=("2.12", "4.0", "7.2", "8.1", "10.0", "10.1")):
    version = QemuVersion.parse(draw(st.sampled_from(versions)))
    factors = {
        name: draw(st.sampled_from([0.5, 0.8, 1.0, 1.3])) for name in MEDIANS if name.endswith("page_s")
    }
    terms = {name: value * factors.get(name, 1.0) for name, value in MEDIANS.items()}
    terms["dirty_fault_s"] *= draw(st.sampled_from([0.0, 1.0]))
    limit = draw(st.one_of(st.just(0), st.floats(6.7, 9.7).map(lambda x: int(10**x))))
    parameters = {"max-bandwidth": limit, "downtime-limit": draw(st.integers(10, 2000))}
    if draw(st.integers(0, 5)) == 0:
        parameters["avail-switchover-bandwidth"] = draw(st.integers(10_000_000, 1_000_000_000))
    if capability == "auto-converge":
        terms |= draw(st.sampled_from([{}, {"slice_lost_s": 1.2e-3, "slice_cools_s": 9e-3}]))
        parameters["cpu-throttle-initial"] = draw(st.integers(1, 99))
        parameters["cpu-throttle-increment"] = draw(st.integers(1, 60))
        if version >= QemuVersion.parse("5.1"):
            parameters["throttle-trigger-threshold"] = draw(st.integers(1, 100))
            parameters["max-cpu-throttle"] = draw(st.integers(30, 99))
            parameters["cpu-throttle-tailslow"] = draw(st.booleans())
    if capability == "xbzrle":
        parameters["xbzrle-cache-size"] = draw(st.sampled_from([2, 16, 64, 512])) * MIB
    if version >= QemuVersion.parse("9.0"):
        parameters["zero-page-detection"] = draw(st.sampled_from(["legacy", "multifd", "none"]))
    if capability == "multifd":
        parameters["multifd-channels"] = draw(st.integers(1, 8))
    return SimulationInput(
        workload=draw(workloads(coded=capability == "xbzrle")),
        terms=terms,
        version=version,
        parameters=parameters,
        capabilities={"return-path": draw(st.booleans())} | ({capability: True} if capability else {}),
        vcpus=draw(st.integers(1, 4)) if capability == "multifd" else 1,
        host_cpus=draw(st.sampled_from([None, 1, 4, 64])) if capability == "multifd" else None,
        machine_type=draw(st.sampled_from([None, "pc-q35-4.0", "pc-i440fx-8.2"])),
        accel=draw(st.sampled_from(["kvm", "kvm", "tcg"])),
        link_bytes_per_s=draw(st.sampled_from([None, None, 117e6, 1.1e9])),
        deadline_s=draw(st.sampled_from([3.0, 20.0, 120.0])),
        fresh_pages=draw(st.sampled_from([None, None, 0, 30_000])),
    )


def check(cells, seeds=None):
    """Every figure of every cell, and its verdict and reason, are the event engine's."""
    slow = simulate_many(cells, seeds=seeds, engine="events")
    fast = simulate_many(cells, seeds=seeds)
    assert fast.outcome.tolist() == slow.outcome.tolist()
    for name in FIGURE_NAMES:
        tolerance = 1e-6 if name in NOT_WHOLE else 1.0  # the others are cut or rounded to whole numbers
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-3, atol=tolerance, err_msg=name)
    return slow, fast


@settings(max_examples=60, deadline=None)
@given(inputs())
def test_plain_precopy_is_the_event_engines(migration):
    check([migration])


@settings(max_examples=40, deadline=None)
@given(inputs("auto-converge", ("2.6", "4.0", "7.2", "9.2", "10.1")))
def test_throttling_is_the_event_engines(migration):
    check([migration])


WHOLE_WINDOWS = SimulationInput(
    workload=Workload(
        ram_bytes=64 * MIB,
        ram_total_bytes=64 * MIB,
        zero_pages=0,
        classes=(
            WorkloadClass(pages=1000, writes_per_page_per_s=0.1, extents=((0, 1000),)),
            WorkloadClass(pages=15384, writes_per_page_per_s=0.0, extents=((1000, 15384),)),
        ),
    ),
    terms=MEDIANS | {"dirty_fault_s": 0.0},
    version=QemuVersion.parse("2.12"),
    parameters={"max-bandwidth": 5232991, "downtime-limit": 201, "xbzrle-cache-size": 2 * MIB},
    capabilities={"xbzrle": True},
    deadline_s=20.0,
)
"""A window of 128 pages ends exactly at the end of RAM, where XBZRLE starts."""


@settings(max_examples=40, deadline=None)
@given(inputs("xbzrle", ("2.12", "4.0", "7.2", "10.0")))
@example(WHOLE_WINDOWS)
def test_xbzrle_is_the_event_engines(migration):
    check([migration])


@settings(max_examples=40, deadline=None)
@given(inputs("multifd", ("4.2", "7.2", "8.1", "9.1", "10.0")))
def test_multifd_is_the_event_engines(migration):
    check([migration])


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([None, "auto-converge", "xbzrle", "multifd"]).flatmap(
        lambda c: inputs(c, ("7.2", "10.0"))
    ),
    st.integers(0, 2**32 - 1),
)
def test_draws_are_the_event_engines(migration, seed):
    check([migration, migration], seeds=[seed, seed + 1])


def test_a_draw_takes_few_calls_of_python():
    """Each has a random generator; what numba makes of the other arguments' types it has to know by then."""
    cells = [base()] * 20
    simulate_many(cells, seeds=range(20))
    profile = cProfile.Profile()
    profile.runcall(simulate_many, cells, seeds=range(20))
    assert sum(entry.callcount for entry in profile.getstats()) < 20 * 400


def hot_guest(rate=30_000.0, hot=20_000, pages=1 << 18):
    classes = (
        WorkloadClass(pages=hot, writes_per_page_per_s=rate / hot, extents=((0, hot),)),
        WorkloadClass(pages=pages // 2, writes_per_page_per_s=0.0, extents=((hot, pages // 2),)),
    )
    return Workload(
        ram_bytes=pages * 4096,
        ram_total_bytes=pages * 4096,
        zero_pages=pages - pages // 2 - hot,
        classes=classes,
    )


def base(**changes):
    given_ = {"workload": hot_guest(), "terms": MEDIANS, "version": QemuVersion.parse("10.0")} | changes
    return SimulationInput(**given_)


def test_a_grid_is_its_cells_verdict_by_verdict_and_reason_by_reason():
    limits, taus = np.geomspace(1e7, 1e9, 8).astype(int)[:, None], np.array([10, 100, 300, 1000])
    vary = {"max-bandwidth": limits, "downtime-limit": taus}
    slow = simulate_grid(base(), vary, engine="events")
    fast = simulate_grid(base(), vary)
    assert fast.shape == (8, 4)
    assert 0.2 < fast.completed.mean() < 0.9
    assert fast.outcome.tolist() == slow.outcome.tolist()
    assert [fast.reason(k) for k in range(32)] == [slow.reason(k) for k in range(32)]
    for name in FIGURE_NAMES:
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-3, atol=1.0, err_msg=name)


def test_cells_of_many_kinds_go_together_in_order():
    cells = [
        base(parameters={"max-bandwidth": 50_000_000}),
        base(capabilities={"auto-converge": True}),
        base(workload=hot_guest(rate=1000.0)),
        base(version=QemuVersion.parse("7.2")),
        base(
            workload=hot_guest(rate=3000.0),
            capabilities={"dirty-limit": True},
            terms=MEDIANS | {"ring_entries_per_write": 1.0},
            dirty_ring_size=4096,
            deadline_s=20.0,
        ),
        base(workload=hot_guest(rate=500.0)),
    ]
    _, fast = check(cells)
    alone = [simulate_many([migration]) for migration in cells]
    assert fast["total_time_ms"].tolist() == [one["total_time_ms"][0] for one in alone]
    assert fast.reason(-1) == alone[-1].reason(0)


def test_terms_and_fields_vary_as_parameters_do():
    vary = {
        "normal_page_s": [2e-6, 4e-6, 6e-6],
        "link_bytes_per_s": [1e8, 2e8, 1e9],
        "deadline_s": [5.0, 10.0, 60.0],
        "fresh_pages": [0, 1000, 10**6],
        "xbzrle-cache-size": np.array([1, 16, 64]) * MIB,
    }
    migration = base(capabilities={"xbzrle": True}, parameters={"max-bandwidth": 0, "downtime-limit": 50})
    slow, fast = simulate_grid(migration, vary, engine="events"), simulate_grid(migration, vary)
    for name in FIGURE_NAMES:
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-3, atol=1.0, err_msg=name)
    table = fast.to_frame()
    assert list(table.columns[:5]) == list(vary)
    assert table["outcome"].tolist() == ["completed" if done else "not-converged" for done in fast.completed]


def test_pages_of_each_kind_that_fill_whole_windows():
    """Data, a hot set and zero pages all end with a window of 32 pages: the next one is not like it."""
    hot, data, pages = 32 * 25, 32 * 1000, 1 << 16
    classes = (
        WorkloadClass(pages=hot, writes_per_page_per_s=1.0, extents=((0, hot),)),
        WorkloadClass(pages=data, writes_per_page_per_s=0.0, extents=((hot, data),)),
    )
    guest = Workload(
        ram_bytes=pages * 4096, ram_total_bytes=pages * 4096, zero_pages=pages - hot - data, classes=classes
    )
    for capability in ({}, {"xbzrle": True}, {"auto-converge": True}):
        migration = base(
            workload=guest,
            terms=MEDIANS | {"dirty_fault_s": 0.0},
            capabilities=capability,
            parameters={"max-bandwidth": 1_000_000, "downtime-limit": 20},
            deadline_s=200.0,
        )
        check([migration])


@pytest.mark.parametrize(
    ("capability", "release"), [("xbzrle", "2.12"), ("xbzrle", "10.0"), ("multifd", "10.0")]
)
def test_whole_windows_that_end_with_ram(capability, release):
    """128 windows of 128 pages are all of RAM: XBZRLE begins at its end, and multifd's channels wait."""
    hot, pages = 1000, 1 << 14
    classes = (
        WorkloadClass(pages=hot, writes_per_page_per_s=0.1, extents=((0, hot),)),
        WorkloadClass(pages=pages - hot, writes_per_page_per_s=0.0, extents=((hot, pages - hot),)),
    )
    migration = base(
        workload=Workload(
            ram_bytes=pages * 4096, ram_total_bytes=pages * 4096, zero_pages=0, classes=classes
        ),
        terms=MEDIANS | {"dirty_fault_s": 0.0},
        version=QemuVersion.parse(release),
        capabilities={capability: True},
        deadline_s=20.0,
    )
    grid = {
        "downtime-limit": [100, 150, 201, 300],
        "max-bandwidth": [5_232_991, 5_300_000, 5_232_991, 5_250_000],
    }
    slow, fast = simulate_grid(migration, grid, engine="events"), simulate_grid(migration, grid)
    assert fast.outcome.tolist() == slow.outcome.tolist()
    for name in FIGURE_NAMES:
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-3, atol=1.0, err_msg=name)


def test_more_syncs_than_there_is_room_for_at_first():
    """A round of a fraction of a millisecond for 20 s: tens of thousands of syncs."""
    migration = base(
        workload=hot_guest(rate=2e5, hot=64),
        parameters={"max-bandwidth": 0, "downtime-limit": 1, "avail-switchover-bandwidth": 1000},
        terms=MEDIANS | {"sync_base_s": 1e-3, "dirty_fault_s": 0.0},
        deadline_s=20.0,
    )
    slow, _ = check([migration])
    assert slow["dirty_sync_count"][0] > 4096 or slow.completed[0] or "stays so" in slow.reason(0)


@given(
    st.one_of(st.just(math.inf), st.floats(5e5, 1e9)),
    st.floats(2e-7, 1e-4),
    st.sampled_from([9.0, 4104.0]),
    st.floats(0, 0.01),
)
def test_a_full_window_is_its_calls_added_up(quota, page_s, page_bytes, wake_up_s):
    pages, seconds, size, calls = full_window(quota, page_s, page_bytes, wake_up_s)
    assert size == pytest.approx(pages * page_bytes + 18 * calls)
    if size >= quota and pages * page_s < 0.1:
        assert seconds == pytest.approx(0.1 + wake_up_s)
        assert size < quota + 18 * calls + 1
    else:
        assert seconds == pytest.approx(pages * page_s)
        assert 0.1 <= seconds < 0.151 + page_s


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"max-bandwith": [1]}, "'max-bandwith' cannot be varied"),
        ({"max-bandwidth": [1, 2], "downtime-limit": [1, 2, 3]}, "shapes"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary, said):
    with pytest.raises(ParameterError, match=said):
        simulate_grid(base(), vary)


def test_settings_that_qemu_refuses_are_refused_before_anything_runs():
    with pytest.raises(ParameterError, match="cpu-throttle-initial is 100"):
        simulate_grid(base(capabilities={"auto-converge": True}), {"cpu-throttle-initial": [20, 100]})


def test_seeds_are_as_many_as_cells():
    with pytest.raises(ParameterError, match="2 seeds for 1 cells"):
        simulate_many([base()], seeds=[1, 2])


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(ParameterError, match="auto and events"):
        simulate_many([base()], engine="numpy")


def test_a_law_that_changes_is_compiled_anew(monkeypatch):
    before = batch_compile.digest()
    monkeypatch.setattr(inspect, "getsource", lambda module: f"# another {module.__name__}")
    assert batch_compile.digest() != before


def test_without_numba_the_event_engine_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    batch_compile.compiled_run.cache_clear()
    try:
        with pytest.raises(HostError, match="engine='events'"):
            simulate_many([base()])
        assert simulate_many([base()], engine="events").shape == (1,)
    finally:
        batch_compile.compiled_run.cache_clear()


def test_numba_is_loaded_when_a_cell_is_run_and_not_before():
    code = "import migsim.engine.batch.grid, sys; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
