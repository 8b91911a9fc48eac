"""Pictures of migrations of 2012 draw the numbers of their tables, and say that they are modelled."""

import pytest
from matplotlib.figure import Figure

from migsim.history.big_lock import lock_use
from migsim.history.idle_chart import DOWNTIME_PARTS, idle_chart
from migsim.history.pictures import (
    CURVES,
    plot_ceiling,
    plot_downtime_by_size,
    plot_idle_chart,
    plot_timer_delays,
)
from migsim.models.loop.copies import copy_path, one_thread_ceiling
from migsim.plot.bitmap import plot_freeze, plot_sync_share
from migsim.plot.style import PARTS, RELEASES
from migsim.profiles.published import cost_preset
from migsim.study.dirty_bitmap import freeze_table, sync_share_table


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def chart():
    return idle_chart([1, 4, 16])


def labels(ax):
    return ax.get_legend_handles_labels()[1]


@pytest.mark.parametrize("curve", CURVES)
def test_curves_are_labelled_modelled_and_draw_the_charts_columns(chart, ax, curve):
    plot_idle_chart(chart, curve, limit=2.0, ax=ax)
    assert labels(ax) == ["qemu.git 1.2.50 (modelled)", "Mig-thread 20121029 (modelled)"]
    for line, design in zip(ax.get_lines(), ("iothread", "thread"), strict=False):
        rows = chart[(chart["design"] == design) & (chart["costs"] == "value")]
        assert line.get_xdata().tolist() == [1, 4, 16]
        assert line.get_ydata().tolist() == rows[curve].tolist()
    assert ax.get_lines()[2].get_linestyle() == "--"


@pytest.mark.parametrize("design", ["iothread", "thread"])
def test_bars_are_the_parts_of_the_downtime_and_sum_to_it(chart, ax, design):
    plot_downtime_by_size(chart, design, ax=ax)
    assert "modelled" in ax.get_title()
    rows = chart[(chart["design"] == design) & (chart["costs"] == "value")]
    bars = ax.containers[: len(DOWNTIME_PARTS)]
    tops = [bars[-1][k].get_y() + bars[-1][k].get_height() for k in range(len(rows))]
    assert tops == pytest.approx(rows["downtime_s"].tolist())
    assert [bar[-1].get_height() for bar in bars][1] == rows["sync_s"].iloc[-1]
    assert labels(ax)[:6] == list(DOWNTIME_PARTS)


def test_a_layout_has_the_same_colour_in_every_picture(chart, ax):
    plot_idle_chart(chart, ax=ax)
    shares, freezes = Figure().subplots(1, 2)
    plot_sync_share(sync_share_table([1, 64]), ax=shares)
    plot_freeze(freeze_table([1, 64]), ax=freezes)
    colours = {line.get_label(): line.get_color() for a in (ax, shares, freezes) for line in a.get_lines()}
    two_passes = ("qemu.git 1.2.50 (modelled)", "1 byte, two passes (1.3)", "QEMU 1.3, 4k", "QEMU 1.3, 2m")
    assert {colours[label] for label in two_passes} == {RELEASES["1.3"]}
    assert colours["Mig-thread 20121029 (modelled)"] == colours["1 byte, one pass (1.4 to 1.7)"]
    assert colours["QEMU 5.1, all-set"] == colours["1 bit, manual protect (5.1)"]
    assert len(set(RELEASES.values())) == len(RELEASES)
    assert len(set(PARTS.values())) == len(PARTS)


def test_delays_and_ceilings(ax):
    use = lock_use([0.05] * 10, 1.0)
    plot_timer_delays({"a": use}, ax=ax)
    (line,) = ax.get_lines()
    assert line.get_ydata()[0] == pytest.approx(0.499)
    assert line.get_ydata()[-1] == 0.0
    costs = cost_preset("era-2012").at()
    bars = {v: one_thread_ceiling(copy_path(v), costs) for v in ("1.4", "1.5")}
    plot_ceiling(bars, ax=(second := Figure().add_subplot()))
    assert [t.get_text() for t in second.texts] == [f" {c.gbit_per_s:.1f} Gbit/s" for c in bars.values()]
    assert labels(second) == ["test", "stream-buffer", "staging", "kernel"]
