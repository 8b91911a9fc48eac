"""A profile fitted to simulated probes is the host that they were simulated on."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from migsim.calibrate.host.fit import USUAL_SPREAD, fit_profile
from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.calibrate.host.probes import BURST, DATA, FAULTS, RESEND, RING, host_probes
from migsim.calibrate.host.run import measure_host
from migsim.errors import ProfileError
from migsim.lab.cores import AUTO, Cores
from migsim.profiles import HostProfile
from migsim.profiles.bundled import bundled_profiles
from migsim.profiles.terms import BURST_TERMS, HOST_TERMS, RING_TERMS, SLICE_TERMS, XBZRLE_TERMS
from migsim.results import Outcome
from migsim.results.iterations import iterations_frame
from migsim.scenario import QemuSpec
from tests.calibrate.host.simulated_probes import QEMU, TERMS, guest_log, known, names, probe_record
from validation.places import HOSTS

HOT = "probe-hot-1g"
TOLERANCE = {  # QEMU's times are whole milliseconds; everything else is known to a few percent
    "connect_s": {"abs": 1e-3},
    "setup_base_s": {"abs": 1e-3},
    "load_s": {"abs": 1e-3},
    "window_overhead_s": {"abs": 5e-5},  # a window that is part zero pages carries a little less
    "device_state_bytes": {"abs": 4000},
}


def runs():
    return [known(name) for name in names()]


def usual(n, fitted=1):
    """Spread of one more run where n values agree: the usual one, and the estimate's own."""
    return USUAL_SPREAD * np.sqrt(4 / (4 + n - fitted) * (1 + 1 / n))


@pytest.fixture(scope="module")
def profile():
    return fit_profile(runs() * 3, QEMU, command="a test")


def test_every_term_of_the_model_is_fitted(profile):
    every = {*HOST_TERMS, *XBZRLE_TERMS, *RING_TERMS}
    assert profile.terms.keys() == every | {"guest_writes_per_s"} == TERMS.keys()
    assert (profile.qemu_version, profile.accel) == ("10.0", "kvm")


@pytest.mark.parametrize("name", sorted(TERMS))
def test_the_terms_are_found_again(profile, name):
    assert profile.median(name) == pytest.approx(TERMS[name], **TOLERANCE.get(name, {"rel": 0.05}))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_under_tcg_the_same_probes_run_but_the_rings(version):
    with_kvm, with_tcg = (host_probes(QemuSpec(version=version, accel=accel)) for accel in ("kvm", "tcg"))
    assert [p.scenario.name for p in with_tcg] == [
        p.scenario.name for p in with_kvm if p.scenario.name != RING
    ]
    assert {p.scenario.qemu.accel for p in with_tcg} == {"tcg"}


@pytest.mark.parametrize(
    "path", [*bundled_profiles(), *sorted(HOSTS.glob("*.json"))], ids=lambda path: path.stem
)
def test_the_recorded_profiles_are_what_their_probes_say(path):
    kept = HostProfile.load(path)
    probed = KeptProbes(HOSTS / f"probes-{path.stem.removeprefix('kvm-')}.zip")
    fitted = fit_profile(probed, QemuSpec(version=kept.qemu_version, accel=kept.accel))
    assert (fitted.accel, fitted.qemu_version) == (kept.accel, kept.qemu_version)
    assert fitted.provenance["measured"] == kept.provenance["measured"]
    rings = set(RING_TERMS) if kept.accel == "kvm" and kept.qemu_version.startswith("10.") else set()
    assert fitted.terms.keys() == {*HOST_TERMS, *XBZRLE_TERMS, "guest_writes_per_s", *rings}
    # others that a profile holds are multifd's, and what a guest loses, which probes of their own measure
    others = {n for n in kept.terms if n.startswith("multifd_")} | set(SLICE_TERMS)
    assert kept.terms.keys() - others == fitted.terms.keys()
    apart = {"dirty_fault_s"} if "guest-costs" in kept.provenance else set()
    assert {n: t.median for n, t in fitted.terms.items() if n not in apart} == pytest.approx(
        {n: kept.median(n) for n in fitted.terms.keys() - apart}, rel=1e-6
    )


def test_units_say_which_terms_are_times(profile):
    for name, term in profile.terms.items():
        assert term.unit.startswith("s") == (
            name not in ("device_state_bytes", "guest_speed", "guest_writes_per_s", "ring_entries_per_write")
        ), name
    assert profile.term("normal_page_s").unit == "s/page"
    assert profile.term("sync_s_per_gib").unit == "s/GiB"
    assert profile.term("window_overhead_s_per_gib_per_s").unit == "s/(GiB/s)"


def test_repeats_that_agree_leave_the_usual_spread(profile):
    assert profile.term("burst_page_s").n == 9  # that probe runs three times as often
    for name in ("normal_page_s", "fresh_page_s", "cold_page_s", "dirty_fault_s"):
        assert profile.term(name).n == 3
        assert profile.term(name).spread == pytest.approx(usual(3), rel=1e-6), name
    once = fit_profile(runs(), QEMU)
    assert once.term("normal_page_s").spread == pytest.approx(usual(1))
    # Base and slope are two numbers taken from six runs.
    assert profile.term("sync_base_s").spread == pytest.approx(usual(6, 2), rel=0.01)
    # Five kinds of probes show the stop, each with a middle of its own: the kinds' differences are no spread.
    stop = profile.term("stop_s")
    assert stop.spread == pytest.approx(usual(stop.n, 5), rel=0.01)


def test_repeats_that_differ_give_their_spread():
    rng = np.random.default_rng(5)
    seen = []
    for _ in range(12):
        factor = np.exp(0.3 * rng.standard_normal())
        terms = {**TERMS, "normal_page_s": TERMS["normal_page_s"] * factor}
        seen.append(probe_record(RESEND, terms))
    others = [r for r in runs() if r.name != RESEND] * 3
    found = fit_profile([*others, *seen], QEMU)
    spread = found.term("normal_page_s").spread
    assert 0.18 < spread < 0.4
    assert found.term("normal_page_s").n == 12
    assert found.term("fresh_page_s").spread == pytest.approx(usual(3), rel=1e-6)


def test_the_guests_speed_differs_from_run_to_run_by_what_its_counts_say():
    """Relative to the same probe's other runs: that one probe's guest writes faster is no spread."""
    once = list({r.name: r for r in runs()}.values())
    assert fit_profile(once, QEMU).term("guest_speed").spread == 0.03  # one run says nothing
    assert fit_profile(runs() * 3, QEMU).term("guest_speed").spread == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(6)
    seen = []
    for _ in range(6):
        for run in runs():
            kind = names().index(run.name)
            speed = (1 + kind) * np.exp(0.1 * rng.standard_normal())
            log = guest_log(run, run.scenario["settle-s"], TERMS["dirty_fault_s"], speed)
            seen.append(replace(run, guest_log=log))
    term = fit_profile(seen, QEMU).term("guest_speed")
    assert (term.median, term.n, term.unit) == (1.0, 6 * len(names()), "relative")
    assert term.spread == pytest.approx(0.1, rel=0.25)


# What cannot be fitted


def swapped(name, **changes):
    return [replace(r, **changes) if r.name == name else r for r in runs()]


def test_a_probe_that_did_not_complete_is_named():
    with pytest.raises(ProfileError, match=r"probe-hot-1g ended as failed: Connection reset"):
        fit_profile(swapped(HOT, outcome=Outcome("failed", "Connection reset")), QEMU)


@pytest.mark.parametrize("name", names())
def test_a_probe_that_is_not_there_is_an_error(name):
    with pytest.raises(ProfileError, match=name):
        fit_profile([r for r in runs() if r.name != name], QEMU)


@pytest.mark.parametrize(
    ("probe", "changes", "term"),
    [
        (FAULTS, {"guest_log": []}, "dirty_fault_s"),
        (HOT, {"downtime_parts_ms": {}}, "burst_page_s"),
        (DATA, {"downtime_parts_ms": {}}, "burst_fresh_page_s"),
        (RESEND, {"iterations": iterations_frame([{"dirty_sync_count": 1}])}, "normal_page_s"),
    ],
)
def test_a_probe_that_shows_nothing_is_an_error_that_names_the_term(probe, changes, term):
    with pytest.raises(ProfileError, match=f"No probe shows {term}"):
        fit_profile(swapped(probe, **changes), QEMU)


def test_windows_that_nobody_saw_are_an_error():
    limited = (HOT, FAULTS)
    blind = [replace(r, timeline=r.timeline.iloc[:2]) if r.name in limited else r for r in runs()]
    with pytest.raises(ProfileError, match="No probe shows window_overhead_s"):
        fit_profile(blind, QEMU)


# Running and going on


class Lab:
    """Stands in for the lab: hands out the known records, and can be killed."""

    def __init__(self, dies_after=None):
        self.ran, self.pins = [], []
        self.dies_after = dies_after

    def __call__(self, scenario, *, pin=None, command=""):
        if self.dies_after is not None and len(self.ran) >= self.dies_after:
            raise KeyboardInterrupt
        self.ran.append(scenario.name)
        self.pins.append(pin)
        return known(scenario.name) if pin is None else pinned(scenario.name, pin)


@pytest.fixture
def lab(monkeypatch):
    def use(**given):
        made = Lab(**given)
        monkeypatch.setattr("migsim.lab.migrate.run_migration", made)
        return made

    return use


def test_each_probe_runs_once_a_repeat(lab):
    used, told = lab(), []
    made = measure_host(QEMU, repeats=2, progress=lambda done, what: told.append((done, what)))
    assert used.ran == names() * 2
    assert told == list(enumerate([p.purpose for p in host_probes(QEMU) for _ in range(p.runs)] * 2))
    assert made.terms == fit_profile(runs() * 2, QEMU).terms


@pytest.mark.parametrize("place", ["of today", "of today.zip"])
def test_a_killed_calibration_goes_on_where_it_stood(lab, tmp_path, place):
    keep = tmp_path / "records" / place
    first = lab(dies_after=3)
    with pytest.raises(KeyboardInterrupt):
        measure_host(QEMU, repeats=2, keep=keep)
    assert len(KeptProbes(keep).names()) == len(first.ran) == 3
    second, told = lab(), []
    made = measure_host(QEMU, repeats=2, keep=keep, progress=lambda done, _: told.append(done))
    assert first.ran + second.ran == names() * 2
    assert told == list(range(2 * len(names())))
    assert len(KeptProbes(keep).names()) == 2 * len(names())
    assert list(keep.parent.iterdir()) == [keep]
    third = lab()
    again = measure_host(QEMU, repeats=2, keep=keep)
    assert third.ran == []
    assert again.terms == made.terms
    assert made.medians() == pytest.approx(fit_profile(runs() * 2, QEMU).medians())


def test_more_repeats_run_only_what_is_missing(lab, tmp_path):
    lab()
    measure_host(QEMU, repeats=1, keep=tmp_path)
    more = lab()
    made = measure_host(QEMU, repeats=2, keep=tmp_path)
    assert more.ran == names()
    assert made.term("normal_page_s").n == 2


# Both sides apart

APART = {"burst_page_s": 1.6e-6, "burst_cold_page_s": 2e-6, "burst_fresh_page_s": 4e-6}
TWO_CORES = Cores((0,), (1,))


@cache
def pinned(name, cores=TWO_CORES):
    """A probe's record with each side on cores of its own, where the switchover is cheaper."""
    run = probe_record(name, TERMS | APART)
    return replace(run, provenance=run.provenance | {"cores": cores.as_dict()})


def pinned_names():
    return [p.scenario.name for p in host_probes(QEMU) for _ in range(p.runs) if p.scenario.name in BURST]


def test_pinned_probes_give_the_last_pages_of_two_hosts_and_change_nothing_else(profile):
    both = fit_profile([*runs() * 3, *map(pinned, pinned_names() * 3)], QEMU, command="a test")
    assert (both.sides, both.terms) == ("one-machine", profile.terms)
    assert both.other_sides.keys() == {*BURST_TERMS}
    two_hosts = both.for_sides("two-hosts")
    for name in BURST_TERMS:
        known_value = APART.get(name, TERMS[name])
        assert two_hosts.median(name) == pytest.approx(known_value, **TOLERANCE.get(name, {"rel": 0.05})), (
            name
        )
    assert two_hosts.terms.keys() - both.other_sides.keys() == profile.terms.keys() - {*BURST_TERMS}


def test_a_profile_without_pinned_probes_has_one_figure(profile):
    assert not profile.other_sides and profile.for_sides("two-hosts") is profile
    assert not profile.measured("two-hosts") and profile.measured("one-machine")


def test_a_pinned_probe_that_is_missing_or_failed_is_an_error():
    with pytest.raises(ProfileError, match="No probe shows burst_fresh_page_s"):
        fit_profile([*runs(), *(pinned(n) for n in pinned_names() if n != DATA)], QEMU)
    failed = pinned(HOT).replace(outcome=Outcome("failed", "Connection reset"))
    with pytest.raises(ProfileError, match=f"{HOT} ended as failed: Connection reset"):
        fit_profile([*runs(), failed], QEMU)


def test_with_pinning_probes_of_the_last_pages_run_once_more_and_are_kept_apart(lab, tmp_path):
    used, told = lab(), []
    made = measure_host(QEMU, keep=tmp_path, repeats=1, pin=AUTO, progress=lambda done, _: told.append(done))
    cores = Cores.parse(AUTO)
    assert used.pins.count(cores) == len(pinned_names()) and used.pins.count(None) == len(names())
    assert [n for n, pin in zip(used.ran, used.pins, strict=True) if pin] == pinned_names()
    assert told == list(range(len(used.ran)))
    assert {f"{HOT}-1", f"{HOT}-pinned-1", f"{HOT}-pinned-3"} <= {*KeptProbes(tmp_path).names()}
    assert made.other_sides.keys() == {*BURST_TERMS}
    again = lab()
    assert measure_host(QEMU, keep=tmp_path, repeats=1, pin=AUTO).terms == made.terms
    assert again.ran == []


def test_unpinned_records_that_are_kept_are_not_run_again_for_pinning(lab, tmp_path):
    lab()
    measure_host(QEMU, keep=tmp_path, repeats=1)
    more = lab()
    measure_host(QEMU, keep=tmp_path, repeats=1, pin=AUTO)
    assert more.ran == pinned_names() and None not in more.pins
