"""Which trace and which profile belong to a record."""

import dataclasses
from types import SimpleNamespace

import pytest

from migsim.errors import ProfileError, RecordError, TraceError
from migsim.profiles import HostProfile, Term
from migsim.profiles.bundled import bundled_profile, bundled_profiles
from migsim.results import MigrationResult, Outcome
from migsim.study.matching import check_sides, matching_profile, matching_trace, question_of_record
from migsim.study.question import OTHER_DAY_SPREAD, Question
from migsim.trace import TraceMeta, TraceWriter

TOLD = {"ram-bytes": 1 << 30, "workload": {"seed": 1, "classes": [{"pages": 100}]}}
META = TraceMeta(collector="stream", qemu_version="7.2", ram_bytes=1 << 30, guest=TOLD)


def record(guest):
    return MigrationResult(
        kind="measured",
        name="a",
        qemu_version="7.2",
        accel="kvm",
        outcome=Outcome("completed"),
        scenario={"guest": guest},
    )


def write(path, meta):
    with TraceWriter(path, meta) as writer:
        writer.add_interval(0.0, 1.0, pages=[1])


def test_the_self_check_does_not_hide_the_guest(tmp_path):
    check = {"guest_running_at_end": True}
    write(tmp_path / "new.trace", dataclasses.replace(META, self_check=check))
    assert matching_trace(record(TOLD), tmp_path).meta.self_check == check
    with pytest.raises(TraceError, match="None of the 1 traces"):
        matching_trace(record({**TOLD, "ram-bytes": 1 << 31}), tmp_path)


def test_traces_that_kept_the_self_check_with_the_guest_are_found(tmp_path):
    write(tmp_path / "old.trace", dataclasses.replace(META, guest={**TOLD, "self_check": {}}))
    assert matching_trace(record(TOLD), tmp_path).meta.guest == TOLD


def test_the_collector_decides_between_several(tmp_path):
    write(tmp_path / "a.trace", dataclasses.replace(META, collector="dirty-rate"))
    write(tmp_path / "b.trace", META)
    assert matching_trace(record(TOLD), tmp_path).meta.collector == "stream"
    assert matching_trace(record(TOLD), tmp_path, "dirty-rate").meta.collector == "dirty-rate"


LINUX = {"ram-bytes": 1 << 30, "linux": {"workload": "order-entry", "users": 75, "seed": 1}}


def test_a_linux_guest_is_the_same_by_workload_users_and_accelerator(tmp_path):
    write(tmp_path / "a.trace", dataclasses.replace(META, guest=LINUX, accel="tcg"))
    of_tcg = record(LINUX).replace(accel="tcg")
    assert matching_trace(of_tcg, tmp_path).meta.guest == LINUX
    other_users = {**LINUX, "linux": {**LINUX["linux"], "seed": 2}}  # of the same kind, by another chance
    assert matching_trace(record(other_users).replace(accel="tcg"), tmp_path).meta.guest == LINUX
    for other in ({"users": 74}, {"workload": "store"}):
        changed = {**LINUX, "linux": {**LINUX["linux"], **other}}
        with pytest.raises(TraceError, match="None of the 1 traces"):
            matching_trace(record(changed).replace(accel="tcg"), tmp_path)
    with pytest.raises(TraceError, match="accelerator"):
        matching_trace(record(LINUX), tmp_path)


def test_of_several_the_one_of_qemus_release(tmp_path):
    for release in ("10.0.8", "7.2.22", "9.0"):
        write(tmp_path / f"{release}.trace", dataclasses.replace(META, qemu_version=release))
    assert matching_trace(record(TOLD), tmp_path).meta.qemu_version == "7.2.22"


MADE = "2026-11-24T22:00:00+00:00"


@pytest.mark.parametrize(
    ("busy_us", "load", "scale"),
    [
        ((0, 400_000, 900_000), 0.45, 1.0),
        ((0, 0, 0), 0.01, 1.0),
        ((None, None, None), 1.0, 1.4),
        # no processor to spare: 70 a second where the traced one did 50
        ((0, 1_000_000, 1_990_000), 0.995, 1.4),
    ],
)
def test_a_linux_guests_load_is_how_busy_it_said_it_was_before(busy_us, load, scale):
    log = [
        {
            "side": "source",
            "line": f"migsim-linux work clock_us={k}000000 browse-products={70 * k}:9"
            + ("" if busy is None else f" busy_us={busy}"),
            "t_s": k - 2.0,
        }
        for k, busy in enumerate((*busy_us, None if busy_us[0] is None else 1_900_000))
    ]
    scenario = {
        "name": "order",
        "qemu": {"command": "qemu", "version": "10.0", "accel": "tcg"},
        "guest": {"ram-bytes": 1 << 30, "linux": {"workload": "order-entry"}},
        "migration": {},
    }
    run = record(LINUX).replace(scenario=scenario, guest_log=log, provenance={"made": MADE})
    host = HostProfile(terms={}, qemu_version="10.0", accel="tcg")

    def asked(check: dict[str, float], started: str = "") -> Question:
        meta = SimpleNamespace(self_check=check, qemu_version="10.0", vcpus=1, started=started)
        return question_of_record(run, SimpleNamespace(meta=meta), host)

    assert asked({"operations_per_s_traced": 50.0}).load == pytest.approx(load)
    assert asked({"operations_per_s_traced": 50.0}).writes_scale == pytest.approx(scale)
    assert asked({}).writes_scale == 1.0
    # the pace of another day is not known, unless it was measured
    assert asked({}, MADE).writes_spread == 0.0
    assert asked({}, "2001-01-01T00:00:00+00:00").writes_spread == OTHER_DAY_SPREAD
    assert (asked({"operations_per_s_traced": 50.0}).writes_spread == 0.0) == (scale != 1.0)


# Profiles

MACHINE = {"cpu_model": "A", "cpus": 2, "architecture": "x86_64", "kernel": "Linux 6.1"}


def run(version="10.0.2", accel="kvm", made="2026-11-24T22:00:00+00:00", machine=None):
    provenance = {"made": made, "machine": machine or bundled_profile("10.0").provenance["machine"]}
    return record(TOLD).replace(qemu_version=version, accel=accel, provenance=provenance)


def keep_profile(path, version="10.0", measured="2026-11-24T21:00:00+00:00", machine=None):
    provenance = {"measured": measured, "machine": machine or bundled_profile("10.0").provenance["machine"]}
    profile = HostProfile(terms={"connect_s": Term(median=1e-3)}, qemu_version=version, provenance=provenance)
    profile.save(path)
    return profile


@pytest.mark.parametrize("path", bundled_profiles(), ids=lambda path: path.stem)
def test_bundled_profiles_are_always_looked_at(tmp_path, path):
    bundled = HostProfile.load(path)
    of_kind = run(version=bundled.qemu_version, accel=bundled.accel)
    keep_profile(tmp_path / "other.json", version="9.0")
    assert matching_profile(of_kind) == matching_profile(of_kind, tmp_path) == bundled


def test_of_several_profiles_the_nearest_in_time(tmp_path):
    day, bundled = (
        keep_profile(tmp_path / "day.json", measured="2026-11-23T20:00:00+00:00"),
        bundled_profile("10.0"),
    )
    assert matching_profile(run(made="2026-11-23T21:00:00+00:00"), tmp_path) == day
    assert matching_profile(run(made="2026-11-24T21:00:00+00:00"), tmp_path) == bundled


def test_a_profile_of_the_records_machine_comes_before_one_that_is_nearer_in_time(tmp_path):
    own = keep_profile(tmp_path / "own.json", measured="2027-06-01T00:00:00+00:00", machine=MACHINE)
    here = MACHINE | {"kernel": "Linux 6.2"}
    assert matching_profile(run(machine=here), tmp_path) == own
    assert matching_profile(run(), tmp_path) == bundled_profile("10.0")


def test_no_profile_of_the_release_and_no_folder_are_errors(tmp_path):
    with pytest.raises(ProfileError, match=r"No bundled profile is of QEMU 9\.0\.4 with kvm"):
        matching_profile(run(version="9.0.4"))
    with pytest.raises(ProfileError, match=r"none in .* is of QEMU 9\.0\.4 with kvm"):
        matching_profile(run(version="9.0.4"), tmp_path)
    with pytest.raises(ProfileError, match="There is no folder"):
        matching_profile(run(), tmp_path / "nowhere")


# Both sides of a record

PINNED = {"cores": {"source": [0], "destination": [1]}}


def test_a_pinned_record_takes_the_profile_that_was_pinned_too(tmp_path):
    keep_profile(tmp_path / "day.json", measured="2026-11-23T20:00:00+00:00")
    both = bundled_profile("10.0").replace(
        provenance=bundled_profile("10.0").provenance | {"measured": "2026-11-20T20:00:00+00:00"},
        other_sides={"load_s": Term(median=1e-3)},
    )
    both.save(tmp_path / "both.json")
    near = run(made="2026-11-23T21:00:00+00:00")
    assert matching_profile(near, tmp_path).provenance["measured"].startswith("2026-11-23")
    assert matching_profile(near.replace(provenance=near.provenance | PINNED), tmp_path) == both


@pytest.mark.parametrize(("provenance", "sides"), [({}, "one-machine"), (PINNED, "two-hosts")])
def test_an_unpinned_record_is_asked_about_as_one_machine(provenance, sides):
    scenario = {
        "name": "a",
        "qemu": {"command": "qemu", "version": "10.0"},
        "guest": {"ram-bytes": 1 << 30, "workload": {"touched-pages": 10, "classes": []}},
        "migration": {},
    }
    host = HostProfile(
        terms={"load_s": Term(median=2e-3)}, other_sides={"load_s": Term(median=1e-3)}, qemu_version="10.0"
    )
    trace = SimpleNamespace(meta=SimpleNamespace(self_check={}, qemu_version="10.0", vcpus=1, started=""))
    asked = question_of_record(record(TOLD).replace(scenario=scenario, provenance=provenance), trace, host)
    assert asked.sides == sides
    assert asked.host.median("load_s") == (1e-3 if sides == "two-hosts" else 2e-3)
    other = {"one-machine": "two-hosts", "two-hosts": "one-machine"}[sides]
    assert asked.replace(sides=other).host.median("load_s") == (2e-3 if sides == "two-hosts" else 1e-3)


def test_pinned_and_unpinned_records_of_one_name_are_not_compared_together():
    unpinned = record(TOLD)
    pinned = unpinned.replace(provenance=PINNED)
    check_sides([unpinned, unpinned, pinned.replace(name="b")])
    check_sides([pinned, pinned])
    with pytest.raises(RecordError, match="'a' some were pinned"):
        check_sides([unpinned, pinned])
