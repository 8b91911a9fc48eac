"""Pictures of sweeps, sensitivities and sizings draw the numbers that were computed."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from migsim.errors import ParameterError
from migsim.plot.size import plot_sizing, save_sizing
from migsim.plot.sweep import VERDICTS, map_numbers, plot_map, plot_sweep, save_sweep
from migsim.plot.tornado import plot_tornado, save_tornado, tornado_numbers
from migsim.study.sensitivity import sensitivity
from migsim.study.size.search import size
from migsim.study.sweep.run import sweep
from tests.factories import host_profile, small_guest

GUEST = small_guest()


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def grid():
    vary = {
        "max-bandwidth": "10MB/s:200MB/s:5:log",
        "downtime-limit": [20, 60, 300],
        "cpu-throttle-initial": [20, 99],
    }
    return sweep(GUEST, host=host_profile(), vary=vary, settings={"max-cpu-throttle": 50}, deadline_s=60.0)


def test_a_map_has_a_row_for_each_value_of_y(grid):
    numbers = map_numbers(grid, "total-time", x="max-bandwidth", y="downtime-limit")
    at = grid.dataset.isel({"cpu-throttle-initial": 0})
    assert numbers.shape == (3, 5)
    assert numbers[2, 1] == at["total-time"].isel({"max-bandwidth": 1, "downtime-limit": 2})
    turned = map_numbers(grid, "total-time", x="downtime-limit", y="max-bandwidth")
    np.testing.assert_array_equal(turned, numbers.T)
    errors = map_numbers(
        grid, "outcome", x="max-bandwidth", y="downtime-limit", at={"cpu-throttle-initial": 99}
    )
    assert (errors == "error").all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": "max-bandwith"}, "max-bandwidth"),
        ({"at": {"cpu-throttle-initial": 30}}, "20, 99"),
        ({"at": {"cpu-throttle": 30}}, "no axis or figure 'cpu-throttle'"),
    ],
)
def test_a_map_of_an_unknown_name_or_value_is_refused(grid, changed, words):
    with pytest.raises(ParameterError, match=words):
        map_numbers(grid, "downtime", **({"x": "max-bandwidth", "y": "downtime-limit"} | changed))


def test_a_map_draws_the_numbers_and_the_verdicts(grid, ax):
    plot_map(grid, "total-time", ax=ax)
    shown = ax.collections[-1].get_array()
    numbers = map_numbers(grid, "total-time", x="max-bandwidth", y="downtime-limit")
    outcome = map_numbers(grid, "outcome", x="max-bandwidth", y="downtime-limit")
    assert (np.ma.getmaskarray(shown).reshape(outcome.shape) == (outcome != "completed")).all()
    np.testing.assert_array_equal(shown.compressed(), numbers[outcome == "completed"])
    refused = ax.collections[0]
    assert refused.cmap(0.0) == to_rgba(VERDICTS["not-converged"])
    assert refused.get_array().count() == (outcome == "not-converged").sum() > 0
    assert ax.get_xlabel() == "max-bandwidth" and "cpu-throttle-initial = 20" in ax.get_title()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["20 ms", "60 ms", "300 ms"]


def test_the_verdict_of_every_cell_is_drawn_once(grid, ax):
    plot_map(grid, "outcome", ax=ax, at={"cpu-throttle-initial": 99})
    assert len(ax.collections) == 1 and ax.collections[0].get_array().count() == 15


def test_one_axis_is_a_line_with_a_band(ax):
    result = sweep(
        GUEST, host=host_profile(), vary={"max-bandwidth": "10MB/s:200MB/s:5"}, draws=4, deadline_s=60.0
    )
    plot_map(result, "downtime", ax=ax)
    line = ax.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), result["max-bandwidth"].values * 8)
    completed = result["outcome"].values == "completed"
    np.testing.assert_array_equal(line.get_ydata()[completed], result["downtime"].values[completed])
    assert np.isnan(line.get_ydata()[~completed]).all() and not completed.all()
    assert ax.collections  # the band


def test_samples_are_points(ax):
    vary = {"max-bandwidth": "10MB/s:200MB/s:log", "downtime-limit": "20:300"}
    result = sweep(GUEST, host=host_profile(), vary=vary, samples=16, deadline_s=60.0)
    plot_map(result, "total-time", ax=ax)
    assert sum(len(c.get_offsets()) for c in ax.collections) == 16


def test_choices_can_be_an_axis(ax):
    result = sweep(GUEST, host=host_profile(), vary={"auto-converge": "on|off"}, draws=2)
    plot_map(result, "total-time", ax=ax)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["on", "off"]


def test_pictures_are_written(grid, tmp_path):
    save_sweep(grid, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert len(plot_sweep(grid).axes) >= 3


def test_a_tornado_has_the_widest_bar_on_top(ax, tmp_path):
    result = sensitivity(GUEST, host=host_profile(spread=0.05, device_state_s=0.5), of="blackout", samples=16)
    rows = tornado_numbers(result, top=4)
    widths = (rows["high"] - rows["low"]).abs()
    assert len(rows) == 4 and widths.is_monotonic_decreasing
    assert set(rows["input"][:2]) == {
        "device_state_s",
        "host",
    }  # the common factor of all host times acts on it too
    plot_tornado(result, top=4, ax=ax)
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends == pytest.approx([*rows["low"], *rows["high"]])
    top = max(ax.patches, key=lambda bar: bar.get_y())
    assert top.get_x() == pytest.approx(result.median)
    assert [t.get_text() for t in ax.get_yticklabels()] == rows["input"].tolist()
    save_tornado(result, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 5_000


def test_a_sizing_shows_shares_figures_and_limits(tmp_path):
    sizing = size(
        GUEST,
        host=host_profile(),
        require=["total-time<2.5s", "downtime<1s", "outcome=completed"],
        minimise="max-bandwidth=20MB/s:400MB/s:log",
        draws=3,
    )
    figure = plot_sizing(sizing)
    shares, total, downtime = figure.axes
    np.testing.assert_array_equal(shares.lines[1].get_ydata(), sizing.table["met"])
    assert total.lines[-1].get_ydata()[0] == 2500 and downtime.lines[-1].get_ydata()[0] == 1000
    for panel in figure.axes:
        assert any(list(line.get_xdata()) == [sizing.value * 8] * 2 for line in panel.lines)
    save_sizing(sizing, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 5_000
