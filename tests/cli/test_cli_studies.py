"""``migsim sweep``, ``size`` and ``sensitivity`` through the real command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from migsim.cli import main
from migsim.study.sweep import jobs as sweep_run
from migsim.study.sweep import piece as sweep_piece
from migsim.trace import TraceMeta, TraceWriter
from tests.factories import host_profile

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    meta = TraceMeta("stream", "10.0.8", 64 << 20, accel="kvm", zero_pages=9_000)
    with TraceWriter(folder / "db.trace", meta) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=range(3_000), sent_pages=3_000, zero_pages=0)
    host_profile().save(folder / "host.json")
    return folder


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Path
) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(command: str, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main.run([command, str(files / "db.trace"), "--host", str(files / "host.json"), *words])
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, captured.out, captured.err

    return invoke


def test_sweep_writes_a_file_a_picture_and_a_summary(run: Run, tmp_path: Path) -> None:
    code, out, err = run(
        "sweep",
        *(
            "--vary",
            "max-bandwidth=20MB/s:200MB/s:4",
            "--vary",
            "downtime-limit=50,300",
            "--vary",
            "xbzrle=off",
        ),
        *("--draws", "2", "--picture", "map.png", "-o", "s.parquet"),
    )
    assert code == 0, err
    frame = pd.read_parquet("s.parquet")
    assert len(frame) == 8 and frame["downtime-limit"].unique().tolist() == [50, 300]
    assert "max-bandwidth (4) x downtime-limit (2)" in out and "total-time" in out and "s.parquet" in out
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.png", "s.parquet"]
    about = _metadata("s.parquet")
    assert about["qemu-version"] == "10.0.8" and json.loads(about["provenance"])["seed"] == 1


def test_sweep_takes_the_guest_to_more_memory(run: Run) -> None:
    words = (
        "--vary guest-ram=64MiB,256MiB --users 10 --transactions 100 --set max-bandwidth=200MB/s -o s.parquet"
    )
    code, out, err = run("sweep", *words.split())
    assert code == 0, err
    frame = pd.read_parquet("s.parquet")
    assert frame["guest-ram"].tolist() == [64 << 20, 256 << 20]
    assert "never measured" in out and "10 users, 100 transactions/s" in out


def _metadata(path: str) -> dict[str, str]:
    import pyarrow.parquet as pq

    read = json.loads((pq.read_schema(path).metadata or {})[b"migsim"])
    assert isinstance(read, dict)
    return read


def test_a_sweep_that_ends_early_goes_on_from_the_folder_beside_its_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--vary", "downtime-limit=20:119:40", "-o", "s.csv")
    done: list[object] = []

    def stops(plan: object, columns: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(columns)
        return sweep_piece.simulate_piece(plan, columns)

    monkeypatch.setattr(sweep_run, "simulate_piece", stops)
    code, out, _ = run("sweep", *words)
    assert code == 130 and out == "" and not Path("s.csv").exists()
    assert len(list(Path("s.csv.cells").glob("*.parquet"))) == 2
    monkeypatch.setattr(sweep_run, "simulate_piece", sweep_piece.simulate_piece)
    code, _, err = run("sweep", *words)
    assert code == 0 and "of 40 cells were in s.csv.cells already" in err
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]
    assert len(pd.read_csv("s.csv")) == 40


def test_a_folder_that_was_asked_for_stays(run: Run, tmp_path: Path) -> None:
    words = ("--vary", "downtime-limit=50,300", "--folder", "kept", "-o", "s.nc")
    assert run("sweep", *words)[0] == 0
    assert list(Path("kept").glob("*.parquet"))
    assert "already" in run("sweep", *words)[2]


def test_errors_are_counted_with_their_reasons(run: Run) -> None:
    code, out, _ = run(
        "sweep", "--vary", "cpu-throttle-initial=20,60", "--set", "max-cpu-throttle=40", "-o", "s.csv"
    )
    assert code == 0
    assert "1 completed, 1 error" in out and "error, 1 cells: max-cpu-throttle is 40" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("-o s.parquet", 2, "No --vary"),
        ("--vary downtime-limit -o s.parquet", 2, "NAME=VALUES"),
        ("--vary downtime-limit=5 --vary downtime-limit=6 -o s.parquet", 2, "twice"),
        ("--vary downtime-limit=5 -o s.txt", 2, "parquet, nc, csv"),
        ("--vary downtime-limit=5 -o s", 2, "parquet, nc, csv"),
        ("--vary downtime-limit=5 -o s.parquet --jobs 0", 2, "--jobs"),
        ("--vary downtime-limit=5 -o s.parquet --engine fast", 2, "auto or events"),
        ("--vary downtime-limit=5 -o s.parquet --picture s.gif", 2, "gif"),
        ("--vary downtime-limit=5 -o s.parquet --samples 0", 2, "samples"),
        ("--vary downtime-limit=5 -o no/such/s.parquet", 3, "Cannot write"),
        ("--vary downtime-limit=300:50:5 -o s.parquet", 3, "reversed"),
        ("--vary downtime-limit=50:50:5 -o s.parquet", 3, "empty"),
        ("--vary downtime-limt=5 -o s.parquet", 3, "downtime-limit"),
        ("--vary max-bandwidth=1G:10G:5 -o s.parquet", 3, "three readings"),
        ("--vary load=0.1:1:10000000 --vary writes-scale=0.1:1:10000000 -o s.parquet", 3, "cells"),
        ("--vary downtime-limit=5 -o s.parquet --cluster tcp://127.0.0.1:9", 3, "does not answer"),
        ("--vary downtime-limit=5 -o s.parquet --folder s.file", 3, "Cannot keep"),
        ("--vary dirty-limit=on -o s.parquet", 3, "dirty ring"),
        ("--vary guest-ram=64MiB,128MiB -o s.parquet", 3, "--users N --transactions N"),
        ("--vary guest-ram=64MiB,128MiB --users 9 -o s.parquet", 2, "Give both"),
        ("--vary guest-ram=64MiB --users 9 --transactions 0 -o s.parquet", 3, "All are above 0"),
        (
            "--vary guest-ram=64MiB --users 9 --transactions 9 --buffers 100% -o s.parquet",
            3,
            "less than the memory",
        ),
    ],
)
def test_bad_sweeps_leave_one_paragraph_and_no_file(
    run: Run, tmp_path: Path, words: str, code: int, said: str
) -> None:
    Path("s.file").write_text("x", encoding="utf-8")
    ended, out, err = run("sweep", *words.split())
    assert (ended, out) == (code, "") and said in err, err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".cells"] == ["s.file"]


def test_size_answers(run: Run) -> None:
    words = ("--require", "total-time<2s", "--minimise", "max-bandwidth=10MB/s:1GB/s:log", "--draws", "3")
    code, out, _ = run("size", *words, "--picture", "size.png")
    assert code == 0
    assert out.startswith("The least max-bandwidth with total-time < 2 s is ")
    assert Path("size.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run("size", *words, "--format", "json")
    answer = json.loads(out)
    assert code == 0 and 10_000_000 < answer["value"] < 10**9 and answer["unit"] == "bytes/s"
    assert answer["at-value"]["met"] >= 0.8


def test_impossible_is_exit_code_4_with_the_reason(run: Run) -> None:
    code, out, err = run(
        "size", "--require", "downtime<1ms", "--require", "total-time<1h", "--minimise", "max-bandwidth", "--draws", "2"
    )  # fmt: skip
    assert code == 4 and err == ""
    assert out.startswith("Impossible: no max-bandwidth") and "downtime < 1 ms" in out and "keep to is" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--minimise max-bandwidth", 3, "No requirement"),
        ("--require downtime<1s", 2, "--minimise"),
        ("--require downtime<1s --minimise load --maximise load", 2, "--minimise"),
        ("--require downtime<5m --minimise load", 3, "minutes or milliseconds"),
        ("--require downtime>5ms --minimise load", 3, "an upper bound"),
        ("--require speed<5ms --minimise load", 3, "cannot be required"),
        ("--require downtime<1s --minimise max-bandwith", 3, "max-bandwidth"),
        ("--require downtime<1s --minimise announce-step", 3, "LOW:HIGH"),
        ("--require downtime<1s --minimise xbzrle=on|off", 3, "is not a number"),
        ("--require downtime<1s --minimise load --confidence 80", 3, "share"),
        ("--require downtime<1s --minimise load --jobs 0", 2, "--jobs"),
        ("--require downtime<1s --minimise load --picture s.gif", 2, "gif"),
    ],
)
def test_bad_sizings_are_one_paragraph(run: Run, words: str, code: int, said: str) -> None:
    ended, out, err = run("size", *words.split())
    assert (ended, out) == (code, "") and said in err, err
    assert "Traceback" not in err


def test_sensitivity_names_inputs(run: Run) -> None:
    code, out, _ = run("sensitivity", "--of", "downtime", "--samples", "4", "--picture", "tornado.svg")
    assert code == 0 and "at the medians" in out and "what the host's times have in common" in out
    assert (
        "total index" in Path("tornado.svg").read_text(encoding="utf-8") or Path("tornado.svg").stat().st_size
    )
    code, out, _ = run("sensitivity", "--samples", "4", "--format", "json")
    assert code == 0 and {"host", "stop_s"} <= {row["input"] for row in json.loads(out)["inputs"]}
    code, out, _ = run("sensitivity", "--samples", "4", "--format", "csv")
    assert code == 0 and out.startswith("input,meaning,low,high,first,total")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--of speed", 3, "no figure"),
        ("--samples 100", 3, "powers of two"),
        ("--format xml", 2, "--format"),
        ("--picture t.gif", 2, "gif"),
    ],
)
def test_bad_sensitivities_are_one_paragraph(run: Run, words: str, code: int, said: str) -> None:
    ended, out, err = run("sensitivity", *words.split())
    assert (ended, out) == (code, "") and said in err, err
