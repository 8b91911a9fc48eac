"""Pictures of bitmap syncs draw the numbers of their tables and fits."""

import pytest
from matplotlib.figure import Figure

from migsim.calibrate.host.sync_cost import fit_sync_cost
from migsim.plot.bitmap import plot_freeze, plot_sync_fit, plot_sync_share
from migsim.study.dirty_bitmap import freeze_table, sync_share_table
from tests.calibrate.host.test_sync_cost import made


@pytest.fixture
def ax():
    return Figure().add_subplot()


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_shares_and_freezes(ax):
    table = sync_share_table([1, 64, 16384])
    plot_sync_share(table, ax=ax)
    assert "modelled" in ax.get_title()
    assert len(labels(ax)) == table["layout"].nunique()
    assert ax.get_lines()[0].get_ydata().tolist() == table.loc[table["layout"] == "1.3", "share"].tolist()
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "16 TiB"
    plot_freeze(freeze_table([1, 64]), ax=(second := Figure().add_subplot()))
    assert second.get_yscale() == "log"


def test_fits_are_drawn_over_what_was_measured(ax):
    fit = fit_sync_cost(made(), draws=0)
    plot_sync_fit({"10.0": fit}, ax=ax)
    measured, line = ax.get_lines()
    assert measured.get_color() == "black"
    assert len(measured.get_xdata()) == len(fit.residuals)
    assert line.get_ydata()[0] == pytest.approx(fit.seconds(1 << 30) * 1e6)
