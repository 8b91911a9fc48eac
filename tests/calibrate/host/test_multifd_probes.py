"""Terms of multifd's threads: what made-up records were made of is found again, and live probes say alike things."""

from typing import Any

import pytest

from migsim.calibrate.host.multifd import fit_multifd, measure_multifd, multifd_probes, thread_work
from migsim.calibrate.host.probe_runs import KeptProbes
from migsim.cli import main
from migsim.errors import ParameterError, ProfileError
from migsim.models.multifd.threads import PageWork, multifd_page_s
from migsim.profiles import HostProfile, Term
from migsim.profiles.bundled import bundled_profile
from migsim.profiles.terms import MULTIFD_TERMS, MULTIFD_ZERO_TERMS
from migsim.results import MigrationResult, Outcome
from migsim.results.iterations import iterations_frame
from migsim.scenario import QemuSpec
from validation.places import HOSTS

COSTS = {
    "queue": 1e-7,
    "send": {"zero": 2e-7, "fresh": 6e-7, "cold": 12e-7, "normal": 5e-7},
    "receive": {"zero": 1e-7, "fresh": 90e-7, "cold": 10e-7, "normal": 6e-7},
}
PAGES = {  # of each probe: pages of data, zero pages; what was sent besides the first time
    "probe-multifd-empty": (700, 16_000_000),
    "probe-multifd-fresh": (250_100, 12_000),
    "probe-multifd-cold": (2_097_152, 500),
    "probe-multifd-again": (400_000, 230_000),
    "probe-multifd-hot": (115_000, 160_000),
}
NAMES = {
    "10.0": {"queue": "mig/src/main", "send": "mig/src/send_{}", "receive": "mig/dst/recv_{}"},
    "7.2": {"queue": "live_migration", "send": "multifdsend_{}", "receive": "multifdrecv_{}"},
}


def host(version: str = "10.0") -> HostProfile:
    return HostProfile(terms={"connect_s": Term(median=1e-3)}, qemu_version=version)


def record(scenario, *, version: str = "10.0", wait_s: float = 0.0, turns_s: float = 0.0) -> MigrationResult:
    """A probe as QEMU would leave it: threads' times by the known costs, of two channels on two processors."""
    normal, zero = PAGES[scenario.name]
    alias = scenario.guest.alias_bytes
    first = alias // 4096 if alias else scenario.guest.workload.touched_pages
    kinds = {"fresh": first, "cold" if alias else "normal": normal - first}
    if version == "10.0":  # before 9.0 the migration thread finds zero pages
        kinds["zero"] = zero
    seconds = {end: sum(COSTS[end][kind] * n for kind, n in kinds.items()) for end in ("send", "receive")}
    threads: list[dict[str, Any]] = [
        {"role": "source", "name": NAMES[version]["queue"], "cpu_s": COSTS["queue"] * (normal + zero)}
    ]
    for end, role in (("send", "source"), ("receive", "destination")):
        threads += [
            {"role": role, "name": NAMES[version][end].format(k), "cpu_s": seconds[end] / 2} for k in range(2)
        ]
    left = 15_000
    work = PageWork(COSTS["queue"], 2e-7, 1e-7, queue_wait_s=wait_s / 128)
    page_s = float(multifd_page_s(work, 2, cpus=2, busy_vcpus=1))
    total_s = 1.0 if scenario.name != "probe-multifd-empty" else page_s * (normal + zero)
    ends_s = COSTS["send"]["normal"] + COSTS["receive"]["normal"] + turns_s / 128
    row = {"dirty_sync_count": 1, "start_s": 0.001, "end_s": total_s, "sync_s": 0.0, "dirty_pages": 0}
    last = row | {"dirty_sync_count": 2, "start_s": total_s, "remaining_bytes_after_sync": left * 4096.0}
    return MigrationResult(
        kind="measured",
        name=scenario.name,
        qemu_version=version,
        accel="kvm",
        outcome=Outcome("completed", ""),
        info={
            "total-time": total_s * 1000 + 1,
            "setup-time": 0,
            "downtime": 0,
            "ram": {"normal": normal, "duplicate": zero},
        },
        iterations=iterations_frame([row, last]),
        downtime_parts_ms={"flush": left * ends_s / 2 * 1000},
        scenario=scenario.as_dict() if hasattr(scenario, "as_dict") else scenario.model_dump(by_alias=True),
        host_load={"cpus": 2, "duration_s": total_s, "others_cpu_s": 0.0, "threads": threads},
    )


def probes_of(version: str):
    return [p.scenario for p in multifd_probes(QemuSpec(command="qemu", version=version))]


def made(version: str = "10.0", **waits: float) -> list[MigrationResult]:
    return [record(s, version=version, **waits) for s in probes_of(version)] * 2


@pytest.mark.parametrize("version", ["10.0", "7.2"])
def test_the_terms_are_found_again(version):
    profile = fit_multifd(host(version), made(version))
    kinds = ("zero", "fresh", "cold", "normal") if version == "10.0" else ("fresh", "cold", "normal")
    for end in ("send", "receive"):
        for kind in kinds:
            assert profile.median(f"multifd_{end}_{kind}_page_s") == pytest.approx(COSTS[end][kind], rel=0.02)
    assert profile.median("multifd_queue_page_s") == pytest.approx(1e-7, rel=1e-3)
    assert profile.median("multifd_cpus") == 2
    assert profile.median("connect_s") == 1e-3


def test_waits_are_what_is_left_of_the_time():
    profile = fit_multifd(host(), made(wait_s=2e-5, turns_s=1.6e-4))
    assert profile.median("multifd_queue_wait_s") == pytest.approx(2e-5, rel=0.05)
    assert profile.median("multifd_channel_wait_s") == pytest.approx(1.6e-4, rel=0.02)


def test_every_term_is_measured_and_those_of_zero_pages_where_channels_find_them():
    assert fit_multifd(host(), made()).terms.keys() == {"connect_s", *MULTIFD_TERMS, *MULTIFD_ZERO_TERMS}
    assert fit_multifd(host("7.2"), made("7.2")).terms.keys() == {"connect_s", *MULTIFD_TERMS}


def test_a_spinning_thread_waits_for_nothing():
    assert fit_multifd(host("7.2"), made("7.2")).median("multifd_queue_wait_s") == 0


def test_a_probe_that_is_missing_is_named():
    with pytest.raises(ProfileError, match="probe-multifd-cold"):
        fit_multifd(host(), [r for r in made() if "cold" not in r.name])


def test_a_profile_of_another_release_is_refused():
    with pytest.raises(ProfileError, match=r"profile is of QEMU 7\.2.*probes are of 10\.0"):
        fit_multifd(host("7.2"), made("10.0"))


def test_a_record_without_its_threads_is_refused():
    run = made()[0]
    with pytest.raises(ProfileError, match="no processor time"):
        thread_work(run.replace(host_load=run.host_load | {"threads": []}))


def test_a_release_without_multifd_is_refused_before_anything_runs():
    with pytest.raises(ParameterError, match=r"QEMU 3\.1"):
        measure_multifd(host("3.1"), QemuSpec(command="no-such-qemu", version="3.1"))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_the_recorded_probes_make_the_recorded_profile(version):
    kept = bundled_profile(version)
    again = fit_multifd(kept, KeptProbes(HOSTS / f"probes-multifd-{version}.zip"))
    for name in MULTIFD_TERMS:
        assert again.median(name) == pytest.approx(kept.median(name), rel=1e-9), name
    # A fault on the destination costs the same in any release.
    assert 5e-6 < kept.median("multifd_receive_fresh_page_s") < 20e-6
    assert kept.median("multifd_receive_normal_page_s") < kept.median("multifd_receive_fresh_page_s") / 5


def command_line(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main.run(["calibrate", "multifd", *arguments])
    return left.value.code


def test_the_command_line_says_what_is_wrong_before_anything_runs(tmp_path, capsys):
    assert command_line(str(tmp_path / "none.json")) == 3
    assert "Cannot read" in capsys.readouterr().err
    profile = tmp_path / "old.json"
    host("3.1").save(profile)
    assert command_line(str(profile), "--qemu", "no-such-qemu") == 3
    assert "QEMU 3.1 has no capability" in capsys.readouterr().err
