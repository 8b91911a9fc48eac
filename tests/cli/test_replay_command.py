"""``migsim replay`` through the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import migsim
from migsim.cli import main
from migsim.trace import TraceMeta, TraceWriter
from tests.factories import host_profile


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    meta = TraceMeta("stream", "10.0.8", 64 << 20, accel="kvm", zero_pages=9_000)
    with TraceWriter(folder / "db.trace", meta) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=range(3_000), sent_pages=3_000, zero_pages=0)
    with TraceWriter(folder / "rates.trace", TraceMeta("dirty-rate", "10.0.8", 64 << 20)) as writer:
        writer.add_interval(0.0, 1.0)
    host_profile().save(folder / "host.json")
    return folder


def invoke(files: Path, *words: str, trace: str = "db.trace") -> int:
    with pytest.raises(SystemExit) as end:
        main.run(["replay", str(files / trace), "--host", str(files / "host.json"), *words])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_figures_then_rounds(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(files, "--set", "max-bandwidth=100MB/s") == 0
    said = capsys.readouterr().out
    assert said.startswith("converges.")
    assert "ram.dirty-sync-count" in said
    assert "dirty pages found" in said
    assert "assumed:" in said


def test_json_is_the_same_migration_as_in_python_and_in_the_record(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--set", "max-bandwidth=100MB/s", "--format", "json", "-o", str(tmp_path / "r.json"))
    assert invoke(files, *words) == 0
    told = json.loads(capsys.readouterr().out)
    made = migsim.replay(
        migsim.Trace.open(files / "db.trace"),
        host=migsim.HostProfile.load(files / "host.json"),
        settings=migsim.MigrationSettings.parse(["max-bandwidth=100MB/s"], "10.0"),
        qemu_version="10.0.8",
    )
    kept = migsim.MigrationResult.load(tmp_path / "r.json")
    assert told["ram"] == made.info["ram"] == kept.info["ram"]
    assert told["outcome"] == "completed"
    assert len(kept.iterations) == made.rounds


def test_a_guest_that_does_not_converge_is_exit_code_4(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        invoke(files, "--set", "max-bandwidth=4MB/s", "--set", "downtime-limit=10", "--deadline", "60s") == 4
    )
    assert capsys.readouterr().out.startswith("does not converge.")


def test_a_trace_without_page_numbers_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(files, trace="rates.trace") == 3
    assert "page" in capsys.readouterr().err


def test_usage(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(files, "--format", "yaml") == 2
    assert invoke(files, "--load", "0") == 3
    assert invoke(files, "--set", "max-bandwith=1Gbps") == 3
    assert "max-bandwidth" in capsys.readouterr().err
