"""Pictures of throttling and XBZRLE: predicted lines with bands, measured black markers, the numbers as given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from migsim.plot.throttle import ROUNDS, plot_guest_work, plot_rounds, plot_throttle
from migsim.plot.xbzrle import plot_cache_sizes
from migsim.results import MigrationResult, Outcome
from tests.factories import prediction_of

MIB = 1 << 20


@pytest.fixture
def ax():
    return Figure().add_subplot()


def result(kind, **more):
    return MigrationResult(
        kind=kind, name="made up", qemu_version="10.0", accel="kvm", outcome=Outcome("completed", ""), **more
    )


def figures(total_s, **throttle):
    fields = dict.fromkeys(("downtime", "transferred", "rounds", "blackout", "guest-lost"), 1.0)
    return fields | {"total-time": total_s * 1000} | {k.replace("_", "-"): v for k, v in throttle.items()}


@pytest.fixture
def prediction():
    t_s = np.arange(0.0, 10.0, 0.1)
    simulated = result(
        "simulated",
        timeline=pd.DataFrame({"t_s": t_s, "guest_s": np.minimum(t_s, 4 + t_s / 2)}),
        iterations=pd.DataFrame(
            {"start_s": [0.0, 5.0], "sync_s": [0.1, 0.3], "remaining_bytes_after_sync": [3e6, 1e6], "mbps": [9.0, 8.0]}
        ),
    )  # fmt: skip
    draws = [
        figures(10.0, throttle_20=3.0, throttle_30=6.0),
        figures(10.0, throttle_20=4.0, throttle_30=7.0),
        figures(10.0, throttle_20=5.0, throttle_30=8.0, throttle_40=9.9),
    ]
    return prediction_of(simulated, draws, intervals={"guest-lost": (1000.0, 3000.0)})


def measured(samples):
    t_s, percentage = np.transpose(samples)
    rounds = pd.DataFrame(
        {"start_s": [1.0], "sync_s": [0.2], "remaining_bytes_after_sync": [2e6], "mbps": [7.0]}
    )
    return result(
        "measured",
        timeline=pd.DataFrame({"t_s": t_s, "cpu-throttle-percentage": percentage}),
        iterations=rounds,
    )


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def at(line, t_s):
    """Value of a step line at a time."""
    return line.get_ydata()[line.get_xdata() <= t_s][-1]


def test_steps_begin_at_the_medians_of_the_draws(prediction, ax):
    plot_throttle(prediction, ax=ax)
    (line,) = ax.get_lines()
    assert [at(line, t) for t in (0, 3.9, 4.0, 6.9, 7.0, 10.0)] == [
        0,
        0,
        20,
        20,
        30,
        30,
    ]  # only one draw of three reaches 40 %
    assert line.get_color() == "#1f77b4"


def test_the_band_lies_between_early_and_late_draws(prediction, ax):
    plot_throttle(prediction, ax=ax)
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    assert corners[corners[:, 1] == 20, 0].min() == pytest.approx(np.percentile([3, 4, 5], 10))
    assert corners[corners[:, 1] == 30, 0].max() == 10.0


def test_measured_samples_are_black_at_changes_and_once_a_second(prediction, ax):
    t_s = np.arange(0.05, 3.0, 0.1)
    run = measured([(t, np.nan if t < 0.5 else 20 if t < 2.32 else 30) for t in t_s])
    plot_throttle(prediction, [run, run], ax=ax)
    _, first, second = ax.get_lines()
    assert first.get_xdata() == pytest.approx([0.55, 1.05, 2.05, 2.35])
    assert first.get_ydata().tolist() == [20, 20, 20, 30]
    assert first.get_color() == second.get_color() == "black"
    assert labels(ax) == ["predicted, middle 80 %", "measured, 2 runs"]


def test_a_run_without_throttling_has_no_markers(prediction, ax):
    plot_throttle(prediction, [result("measured", timeline=pd.DataFrame({"t_s": [1.0]}))], ax=ax)
    assert len(ax.get_lines()[1].get_xdata()) == 0


def test_the_bar_at_the_end_of_the_work_is_the_interval_of_the_lost_time(prediction, ax):
    plot_guest_work(prediction, ax=ax)
    line, bar, free = ax.get_lines()
    assert line.get_ydata()[-1] == pytest.approx(4 + 9.9 / 2)
    assert bar.get_ydata() == pytest.approx([9.9 - 3.0, 9.9 - 1.0])
    assert free.get_linestyle() == "--"
    assert [*free.get_xdata(), *free.get_ydata()] == pytest.approx([0, 9.9, 0, 9.9])


@pytest.mark.parametrize("curve", ROUNDS)
def test_rounds_are_those_of_the_results(prediction, ax, curve):
    unit = ROUNDS[curve][2]
    plot_rounds(prediction, [measured([(1.0, 20)])], curve, limit=5.0, ax=ax)
    line, measured_line, limit = ax.get_lines()
    assert line.get_ydata() * unit == pytest.approx(prediction.example_run.iterations[curve])
    assert measured_line.get_xdata().tolist() == [1.0]
    assert measured_line.get_color() == "black"
    assert limit.get_linestyle() == "--"


@pytest.fixture
def sizes():
    return pd.DataFrame(
        {
            "cache_size_bytes": [16 * MIB, 32 * MIB, 64 * MIB],
            "status": ["not-converged", "not-converged", "completed"],
            "hit_rate_low": [0.1, 0.3, 0.5],
            "hit_rate": [0.2, 0.4, 0.6],
            "hit_rate_high": [0.3, 0.5, 0.7],
            **{f"transferred_bytes{end}": [9e9, 8e9, 1e9] for end in ("_low", "", "_high")},
        }
    )


def test_cache_sizes_are_in_mib_and_those_that_do_not_converge_are_shaded(sizes, ax):
    plot_cache_sizes(sizes, ax=ax)
    (line,) = ax.get_lines()
    assert line.get_xdata().tolist() == [16, 32, 64]
    assert line.get_ydata().tolist() == [0.2, 0.4, 0.6]
    shade = ax.patches[-1].get_extents().transformed(ax.transData.inverted())
    assert 32 < shade.x1 < 64
    assert shade.x0 < 16
    assert "predicted not to converge" in labels(ax)


def test_runs_that_did_not_converge_are_hollow(sizes, ax):
    runs = pd.DataFrame(
        {
            "cache_size_bytes": [16 * MIB, 64 * MIB],
            "status": ["not-converged", "completed"],
            "hit_rate": [0.25, 0.65],
            "transferred_bytes": [9e9, MIB],
        }
    )
    plot_cache_sizes(sizes, runs, "transferred_bytes", ax=ax)
    _, completed, stuck = ax.get_lines()
    assert (completed.get_xdata().tolist(), completed.get_ydata().tolist()) == ([64], [1])
    assert completed.get_markerfacecolor() == completed.get_color() == stuck.get_color() == "black"
    assert stuck.get_markerfacecolor() == "none"


def test_nothing_is_shaded_where_all_converge(sizes, ax):
    plot_cache_sizes(sizes.assign(status="completed"), ax=ax)
    assert not ax.patches
