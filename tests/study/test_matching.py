"""Which trace belongs to a record."""

import dataclasses

import pytest

from migsim.errors import TraceError
from migsim.results import MigrationResult, Outcome
from migsim.study.matching import matching_trace
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
    for other in ({"users": 74}, {"workload": "store"}, {"seed": 2}):
        changed = {**LINUX, "linux": {**LINUX["linux"], **other}}
        with pytest.raises(TraceError, match="None of the 1 traces"):
            matching_trace(record(changed).replace(accel="tcg"), tmp_path)
    with pytest.raises(TraceError, match="accelerator"):
        matching_trace(record(LINUX), tmp_path)


def test_of_several_the_one_of_qemus_release(tmp_path):
    for release in ("10.0.8", "7.2.22", "9.0"):
        write(tmp_path / f"{release}.trace", dataclasses.replace(META, qemu_version=release))
    assert matching_trace(record(TOLD), tmp_path).meta.qemu_version == "7.2.22"
