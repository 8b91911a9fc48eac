import numpy as np
import pandas as pd
import pytest

from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.calibrate.host.sync_cost import collect_syncs, dirty_slopes, fit_sync_cost
from migsim.errors import MigsimError
from migsim.models.dirty.bitmap import GIB
from migsim.models.dirty.sync import LAYOUTS, sync_parts
from migsim.profiles.published import cost_preset
from migsim.results import MigrationResult, Outcome, iterations_frame
from validation.places import HOSTS, RECORDS


def made(base=40e-6, per_gib=15e-6, per_page=0.0, spread=0.1, seed=1, sizes=(1, 2, 4, 8, 64, 128)):
    rng = np.random.default_rng(seed)
    rows = []
    for run in range(30):
        gib = sizes[run % len(sizes)]
        for _ in range(12):
            dirty = float(rng.integers(0, 100_000))
            seconds = (base + per_gib * gib + per_page * dirty) * np.exp(spread * rng.standard_normal())
            rows.append((run, "10.0", float(gib), "running", dirty, seconds))
    return pd.DataFrame(rows, columns=["run", "qemu_version", "ram_gib", "kind", "dirty_pages", "sync_s"])


def most_rise(slopes):
    """Whether syncs take longer with more dirty pages in three of four migrations."""
    return slopes["s_per_page"].quantile(0.25) > 0


def test_terms_that_are_known_are_found():
    fit = fit_sync_cost(made(per_page=2e-9), draws=60)
    assert fit.terms["sync_base_s"].median == pytest.approx(40e-6, rel=0.25)
    assert fit.terms["sync_s_per_gib"].median == pytest.approx(15e-6, rel=0.05)
    assert fit.terms["sync_s_per_dirty_page"].median == pytest.approx(2e-9, rel=0.1)
    assert fit.terms["sync_base_s"].spread == pytest.approx(0.1, rel=0.3)
    assert most_rise(fit.slopes)
    for name, term in fit.terms.items():
        low, high = fit.intervals[name]
        assert low <= term.median <= high


def test_a_term_that_is_not_there_is_not_found():
    fit = fit_sync_cost(made(), draws=60)
    assert not most_rise(fit.slopes)
    assert fit.terms["sync_s_per_dirty_page"].median < 2e-10
    assert abs(dirty_slopes(made(sizes=(1, 2, 4)))["s_per_page"].median()) < 2e-10


def test_slopes_are_found_whatever_the_guests_cost_otherwise():
    """Migrations whose level differs at random, more than their dirty pages cost."""
    rows = made(per_page=2e-9, spread=0.02, sizes=(1, 2, 4))
    rows["sync_s"] += rows["run"].map(lambda run: 1e-3 * ((run * 7) % 5))
    slopes = dirty_slopes(rows)
    assert len(slopes) == 30
    assert slopes["s_per_page"].median() == pytest.approx(2e-9, rel=0.1)


def test_a_term_that_only_stands_for_another_difference_does_not_matter():
    """Guests with more dirty pages have dearer syncs, whatever their dirty pages do from sync to sync."""
    rows = made(sizes=(1, 2, 4))
    busy = rows["run"] % 2 == 0
    rows["dirty_pages"] = rows["dirty_pages"] * 0.1 + 50_000 * busy
    rows["sync_s"] *= 1 + 0.5 * busy
    fit = fit_sync_cost(rows, draws=0)
    assert fit.terms["sync_s_per_dirty_page"].median > 1e-10
    assert not most_rise(fit.slopes)


def test_migrations_that_say_nothing_of_dirty_pages_are_left_out():
    rows = made().assign(dirty_pages=100.0)
    assert dirty_slopes(rows).empty
    assert fit_sync_cost(rows, draws=0).slopes.empty


def test_syncs_that_the_host_interrupted_do_not_count():
    rows = made(seed=3)
    hit = rows.sample(frac=0.08, random_state=0).index
    rows.loc[hit, "sync_s"] *= 30
    fit = fit_sync_cost(rows, draws=0)
    assert fit.terms["sync_s_per_gib"].median == pytest.approx(15e-6, rel=0.1)
    assert fit.by_size()["residual"].abs().max() < 0.15


def test_each_size_counts_alike():
    rows = made(spread=0.0)
    many = pd.concat([rows, *[rows[rows["ram_gib"] == 1]] * 50], ignore_index=True)
    assert fit_sync_cost(many, draws=0).terms["sync_s_per_gib"].median == pytest.approx(15e-6, rel=1e-3)


def test_one_size_is_not_enough():
    with pytest.raises(MigsimError, match="at least two sizes"):
        fit_sync_cost(made(sizes=(4,)))
    with pytest.raises(MigsimError, match="0 final syncs"):
        fit_sync_cost(made(), kind="final")


def test_which_sync_is_which():
    rows = [{"dirty_sync_count": i + 1, "sync_s": 1e-4 * (i + 1), "dirty_pages": i} for i in range(4)]
    runs = [
        MigrationResult(
            kind="measured",
            name="x",
            qemu_version="7.2.22",
            accel="kvm",
            outcome=Outcome(status),
            info={"ram": {"total": 2 * GIB}},
            iterations=iterations_frame(rows),
        )
        for status in ("completed", "not-converged")
    ]
    syncs = collect_syncs(runs)
    assert syncs["kind"].tolist() == ["first", "running", "running", "final", "first", *["running"] * 3]
    assert set(syncs["qemu_version"]) == {"7.2"}
    assert set(syncs["ram_gib"]) == {2.0}
    ring = [runs[0].replace(scenario={"qemu": {"dirty-ring-size": 4096}}), runs[1]]
    assert len(collect_syncs(ring)) == len(collect_syncs(ring, dirty_ring=True)) == 4


@pytest.fixture(scope="module")
def recorded():
    probes = [run for path in sorted(HOSTS.glob("probes-*.zip")) for run in KeptProbes(path)]
    every = [*map(MigrationResult.load, sorted(RECORDS.glob("*.json"))), *probes]
    once = {(r.name, r.provenance["made"]): r for r in every}  # some probes are behind two profiles
    return collect_syncs(r for r in once.values() if r.accel == "kvm")


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_this_machines_syncs(recorded, release):
    """1 to 128 GiB, hundreds of syncs: tens of microseconds, and a dozen a GiB; dirty pages do not matter."""
    fit = fit_sync_cost(recorded[recorded["qemu_version"] == release], draws=60)
    assert 20e-6 < fit.terms["sync_base_s"].median < 60e-6
    assert 9e-6 < fit.terms["sync_s_per_gib"].median < 22e-6
    assert fit.intervals["sync_s_per_dirty_page"][1] < 1.5e-9
    assert not most_rise(fit.slopes)
    assert abs(fit.slopes["s_per_page"].median()) < 1e-9
    sizes = fit.by_size()
    assert set(sizes.index) >= {1, 2, 4, 8, 64, 128}
    assert sizes["residual"].abs().max() < 0.6


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_the_published_parts_foretell_this_machines_syncs(recorded, release):
    """Nothing fitted: the law's parts at era-2020 costs, against the slope found here."""
    fit = fit_sync_cost(recorded[recorded["qemu_version"] == release], draws=0)
    low, high = (
        sync_parts(LAYOUTS["5.1"], GIB, 0, cost_preset("era-2020-x86").at(b)).total_s for b in ("low", "high")
    )
    assert 0.8 * low < fit.terms["sync_s_per_gib"].median < 1.25 * high
