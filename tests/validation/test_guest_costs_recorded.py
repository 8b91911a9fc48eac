"""The bundled profiles' costs of first writes and of slices are those of the recorded turns."""

from __future__ import annotations

import json

import pytest

from migsim.calibrate.host.logged_guest import Turn
from migsim.calibrate.host.slices import SliceTurn, slice_terms
from migsim.calibrate.host.write_faults import FaultTurn, fault_term
from migsim.profiles.bundled import bundled_profile
from validation.places import HOSTS

RECORDED = json.loads((HOSTS.parent / "guest-costs.json").read_text(encoding="utf-8"))


def profile_of(name):
    accel, version = name.split("-")
    return bundled_profile(version, accel)


@pytest.mark.parametrize("name", sorted(RECORDED["first-writes"]))
def test_the_cost_of_a_first_write_is_that_of_the_turns(name):
    turns = [FaultTurn(**row | {"logged": Turn(**row["logged"])}) for row in RECORDED["first-writes"][name]]
    term, kept = fault_term(turns), profile_of(name).term("dirty_fault_s")
    assert (kept.median, kept.n) == (pytest.approx(term.median), term.n)
    assert kept.measured_between == pytest.approx(term.measured_between)


@pytest.mark.parametrize("name", sorted(RECORDED["slices"]))
def test_what_slices_lack_is_that_of_the_turns(name):
    turns = [SliceTurn(**row | {"throttled": Turn(**row["throttled"])}) for row in RECORDED["slices"][name]]
    for term_name, term in slice_terms(turns).items():
        assert profile_of(name).median(term_name) == pytest.approx(term.median, rel=1e-3)


def test_under_kvm_that_emulates_each_write_no_first_write_is_told_from_none():
    low, high = profile_of("kvm-10.0").term("dirty_fault_s").measured_between
    assert low < 0 < high < 0.5e-6
