"""Missing recordings are found, and each goes to its place; no file of the data exists twice."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from migsim.calibrate.host.fit import fit_profile
from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.profiles import HostProfile
from migsim.profiles.bundled import bundled_profiles
from migsim.profiles.terms import MULTIFD_TERMS
from migsim.scenario import QemuSpec
from validation import record_all
from validation.places import HOSTS, PAGES, RECORDS, ROOT, SCENARIOS, TRACES


def test_every_profile_and_trace_and_one_record_of_each_scenario_are_there():
    assert [target.name for target, _ in record_all.missing(1, list(record_all.STEPS))] == []


def test_the_plan_names_every_profile_and_archive():
    planned = record_all.plan()
    of_hosts = [*planned["host"], *planned["multifd"]]
    assert {ROOT / host["file"] for host in of_hosts} == {*bundled_profiles(), *HOSTS.glob("*.json")}
    assert {ROOT / host["keep"] for host in of_hosts} == set(HOSTS.glob("*.zip"))
    assert {trace["file"] for trace in planned["trace"]} == {path.name for path in TRACES.glob("*.trace")}


def test_no_file_is_there_twice():
    found = defaultdict(list)
    for path in (*bundled_profiles(), *PAGES.rglob("*"), *TRACES.iterdir()):
        if path.is_file() and path.stat().st_size and "__pycache__" not in path.parts:
            found[hashlib.sha256(path.read_bytes()).hexdigest()].append(path.relative_to(ROOT))
    assert len(found) > 200
    assert [paths for paths in found.values() if len(paths) > 1] == []


@pytest.fixture
def elsewhere(monkeypatch, tmp_path) -> Path:
    """Path of a repository with the scenarios and without recordings."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SCENARIOS, tmp_path / SCENARIOS.relative_to(ROOT))
    for name, place in {"ROOT": ROOT, "TRACES": TRACES, "RECORDS": RECORDS, "SCENARIOS": SCENARIOS}.items():
        monkeypatch.setattr(record_all, name, tmp_path / place.relative_to(ROOT))
    return tmp_path


def commands(**options) -> list[str]:
    return [" ".join(command) for _, command in record_all.missing(**options)]


def test_a_host_that_is_planned_pinned_is_measured_pinned(elsewhere, monkeypatch):
    planned = {"file": "h.json", "keep": "h.zip", "command": "qemu", "repeats": 3, "pin": "auto"}
    monkeypatch.setattr(record_all, "plan", lambda: {"host": [planned], "multifd": []})
    assert commands(repeats=1, steps=["hosts"]) == [
        "calibrate host --qemu qemu --repeats 3 --pin auto --keep h.zip -o h.json"
    ]


def test_missing_files_are_recorded_in_their_places(elsewhere):
    hosts = commands(repeats=1, steps=["hosts"])
    assert len(hosts) == len(record_all.plan()["host"]) + len(record_all.plan()["multifd"])
    assert (
        "calibrate host --qemu qemu-system-x86_64 --accel tcg --repeats 3 "
        "--keep validation/data/hosts/probes-tcg-7.2.zip -o migsim/profiles/bundled/tcg-7.2.json"
    ) in hosts
    assert (
        "calibrate host --qemu $MIGSIM_QEMU_10 --repeats 4 "
        "--keep validation/data/hosts/probes-10.0-a.zip -o validation/data/hosts/kvm-10.0-a.json"
    ) in hosts
    records = commands(repeats=2, steps=["records"])
    assert len(records) == 2 * len(list(SCENARIOS.glob("*.toml")))
    assert records[0].endswith("-1.json") and "-o validation/data/records/" in records[0]


def test_multifds_terms_are_added_to_a_profile_that_lacks_them(elsewhere):
    """This holds even when all probes' records exist, because a newly measured profile has no such terms."""
    profile = elsewhere / "migsim/profiles/bundled/kvm-10.0.json"
    profile.parent.mkdir(parents=True)
    fit_profile(KeptProbes(HOSTS / "probes-10.0.zip"), QemuSpec(version="10.0")).save(profile)
    adding = [
        line
        for line in commands(repeats=1, steps=["hosts"])
        if "multifd migsim/profiles/bundled/kvm-10.0" in line
    ]
    assert len(adding) == 1
    assert adding[0].endswith("--keep validation/data/hosts/probes-multifd-10.0.zip")
    shutil.copy(next(path for path in bundled_profiles() if path.stem == "kvm-10.0"), profile)
    assert HostProfile.load(profile).terms.keys() >= set(MULTIFD_TERMS)
    assert not [line for line in commands(repeats=1, steps=["hosts"]) if "hosts/kvm-10.0.json" in line]


def test_the_runs_at_the_edge_follow_a_trace_of_their_guest():
    """Each guest is traced right before its migrations, which are pinned."""
    given = [command for _, command in record_all.missing(repeats=3, steps=["edge"])]
    kinds = [command[:2] for command in given]
    assert kinds[:3] == [["calibrate", "host"], ["calibrate", "host"], ["lab", "trace"]]
    migrated = [command for command in given if command[:2] == ["lab", "migrate"]]
    assert len(migrated) >= 3 * 12
    assert all(command[-2:] == ["--pin", "auto"] for command in migrated)
    traced = None
    for command in given[2:]:
        guest = record_all._traced_as(Path(command[2]))
        traced = guest if command[1] == "trace" else traced
        assert guest == traced
    scenarios = {Path(command[2]).stem for command in migrated}
    assert {name.rsplit("-", 1)[1] for name in scenarios} == {"q72", "q100"}
    assert len({name.split("-")[1] for name in scenarios}) >= 3
