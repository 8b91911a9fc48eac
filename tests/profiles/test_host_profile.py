import numpy as np
import pytest

from migsim.errors import ProfileError
from migsim.profiles import HostProfile, Term
from migsim.profiles.profile import SHARED
from migsim.provenance import Provenance

PROFILE = HostProfile(
    terms={
        "zero_page_s": Term(median=9e-7, spread=0.2, n=5, unit="s/page"),
        "fixed": Term(median=2.0),
    },
    qemu_version="10.0.2",
    machine={"cpus": 2},
    provenance=Provenance.now("x").as_dict(),
)


def test_a_missing_term_is_named():
    assert PROFILE.median("zero_page_s") == 9e-7
    with pytest.raises(ProfileError, match=r"zero_pages_s.*Did you mean 'zero_page_s'"):
        PROFILE.median("zero_pages_s")
    with pytest.raises(ProfileError, match="sync_s"):
        PROFILE.term("sync_s")
    with pytest.raises(ProfileError, match="median"):
        Term(median=-1)


def test_samples_are_lognormal_about_the_median_and_repeatable():
    draws = [PROFILE.sample(rng) for rng in [np.random.default_rng(1)] for _ in range(4000)]
    logs = np.log([draw["zero_page_s"] / 9e-7 for draw in draws])
    assert abs(np.median(logs)) < 4 * 0.2 * 1.2533 / np.sqrt(len(logs))
    assert np.std(logs) == pytest.approx(0.2, rel=0.06)
    assert {draw["fixed"] for draw in draws} == {2.0}
    assert PROFILE.sample(np.random.default_rng(5)) == PROFILE.sample(np.random.default_rng(5))


def drawn_logs(*names, n=4000):
    """Deviations of the named terms over many draws of one profile, in units of their spreads."""
    spreads = {"fast_s": 0.1, "page_s": 0.3, "state": 0.2}
    units = {"fast_s": "s", "page_s": "s/page", "state": "bytes"}
    profile = PROFILE.replace(
        terms={name: Term(median=2.0, spread=spreads[name], unit=units[name]) for name in spreads}
    )
    rng = np.random.default_rng(8)
    draws = [profile.sample(rng) for _ in range(n)]
    return [np.log([d[name] / 2.0 for d in draws]) / spreads[name] for name in names]


def test_times_of_a_host_move_together_in_part():
    """Half of the variance of a host's times is common to them; what is no time has its own."""
    fast, page, state = drawn_logs("fast_s", "page_s", "state")
    assert SHARED == 0.5
    assert np.corrcoef(fast, page)[0, 1] == pytest.approx(SHARED, abs=0.05)
    assert abs(np.corrcoef(fast, state)[0, 1]) < 0.05
    for logs in (fast, page, state):
        assert np.std(logs) == pytest.approx(1, rel=0.05)
        assert abs(np.mean(logs)) < 4 / np.sqrt(len(logs))


def test_what_is_shared_shifts_a_term_and_narrows_what_is_its_own():
    rng, term = np.random.default_rng(9), Term(median=1.0, spread=0.2, unit="s")
    alone = np.log([term.sample(rng) for _ in range(4000)])
    slow = np.log([term.sample(rng, common=2.0) for _ in range(4000)])
    assert np.std(alone) == pytest.approx(0.2, rel=0.05)
    assert np.std(slow) == pytest.approx(0.2 * np.sqrt(1 - SHARED), rel=0.05)
    assert np.mean(slow) == pytest.approx(0.2 * np.sqrt(SHARED) * 2, rel=0.05)


def test_terms_keep_their_draws_when_spreads_change():
    """Common random numbers: a term's draw does not depend on another term's spread."""
    wider = PROFILE.replace(terms=PROFILE.terms | {"fixed": Term(median=2.0, spread=1.0)})
    a, b = (profile.sample(np.random.default_rng(3)) for profile in (PROFILE, wider))
    assert a["zero_page_s"] == b["zero_page_s"]


def test_the_interval_of_a_measured_cost_is_kept_and_has_its_ends_in_order(tmp_path):
    told = Term(median=0.0, n=5, unit="s/page", measured_between=(-1e-7, 2e-7))
    profile = HostProfile(terms={"dirty_fault_s": told}, qemu_version="10.0")
    profile.save(tmp_path / "host.json")
    assert HostProfile.load(tmp_path / "host.json").term("dirty_fault_s") == told
    for between in ((2e-7, -1e-7), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(ProfileError):
            Term(median=0.0, measured_between=between)


def test_terms_of_slices_leave_the_draws_of_the_others_as_they_were():
    plain = {
        name: Term(median=1.0, spread=0.2, unit="s") for name in ("connect_s", "sync_base_s", "zero_page_s")
    }
    more = plain | {
        "slice_lost_s": Term(median=1e-3, spread=0.3, unit="s"),
        "slice_cools_s": Term(median=0.01),
    }
    few, many = (
        HostProfile(terms=terms, qemu_version="10.0").sample(np.random.default_rng(3))
        for terms in (plain, more)
    )
    assert {name: many[name] for name in plain} == few
