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
