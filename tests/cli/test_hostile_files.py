"""Names and numbers from files that others wrote: shown as text, refused with the file kind's own error."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

from migsim.cli.console import stdout_console
from migsim.cli.main import run
from migsim.errors import ProfileError, RecordError, ScenarioError
from migsim.profiles import HostProfile
from migsim.profiles.terms import TERMS
from migsim.results import MigrationResult
from migsim.scenario import LabScenario
from migsim.study.sweep.piece import Piece, column_names
from migsim.study.sweep.store import Store
from migsim.trace import Trace, TraceMeta, TraceWriter
from migsim.workload import Workload
from tests.factories import host_profile, small_guest
from tests.fuzz.kinds import good_record

ODD = "\x1b]0;pwned\x07\x1b[31mRED\x1b[2J<script>alert(1)</script>[/bold][red]x\x9b\u202e\x7f"
SHOWN = r"\x1b]0;pwned\x07\x1b[31mRED\x1b[2J<script>alert(1)</script>[/bold][red]x\x9b\u202e\x7f"


def invoke(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(list(words))
    assert isinstance(end.value.code, int)
    return end.value.code


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def odd_trace(tmp_path: Path) -> Path:
    meta = TraceMeta(
        "stream",
        "10.0.8",
        64 << 20,
        accel="kvm",
        zero_pages=10_000,
        zero_pages_source=ODD,
        started=ODD,
        note=ODD,
        self_check={ODD: ODD},
    )
    with TraceWriter(tmp_path / "odd.trace", meta) as writer:
        for second in range(6):
            writer.add_interval(second, second + 1, pages=range(5_000), sent_pages=5_000)
    return tmp_path / "odd.trace"


def test_trace_info_shows_names_as_text(odd_trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke("trace", "info", str(odd_trace)) == 0
    out, err = capsys.readouterr()
    assert harmless(out) and err == ""
    assert SHOWN in "".join(out.split())
    assert "<script>" not in Trace.open(odd_trace)._repr_html_()


def test_a_profile_with_markup_is_text(
    odd_trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = host_profile(dict.fromkeys(TERMS, 1e-5))
    odd = {name: term.replace(unit="s" + ODD) for name, term in profile.terms.items()}
    profile.replace(terms=odd, qemu_version="7.2 " + ODD).save(tmp_path / "host.json")
    line = ("predict", str(odd_trace), "--host", str(tmp_path / "host.json"), "--draws", "1")
    assert invoke(*line) == 0
    out, err = capsys.readouterr()
    assert "converges" in out and harmless(out) and err == ""


def test_errors_show_names_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ("a\x1b[2J\nmigsim: all is well" + ".trace")
    path.write_bytes(b"")
    assert invoke("trace", "info", str(path)) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.rstrip("\n").isprintable()
    assert r"a\x1b[2J\nmigsim: all is well.trace" in err


def test_everything_that_is_printed_goes_through_one_place() -> None:
    """The house's one door to the terminal is `migsim.cli.console`."""
    root = Path(__file__).parents[2] / "migsim"
    doors = [
        path.name
        for path in (root / "cli").glob("*.py")
        if path.name != "console.py"
        and any(
            "print(" in line.replace("_print(", "").replace("console.print(", "").replace("().print(", "")
            for line in path.read_text().splitlines()
        )
    ]
    assert doors == ["main.py"]  # the traceback of a bug, whose control characters are made visible there
    assert "Console(" not in "".join(
        path.read_text() for path in root.rglob("*.py") if path.name != "console.py"
    )


def test_the_console_shows_each_kind_of_text_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    console = stdout_console()
    table = Table(box=None)
    table.add_column(ODD)
    table.add_row(ODD)
    table.add_row(Text(ODD))
    for shown in (ODD, Text(ODD), table, "a\tb\rc"):
        console.print(shown)
    out = capsys.readouterr().out
    assert harmless(out) and out.count(SHOWN) >= 3 and r"a\tb\rc" in out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"median": 1e308}, "median is 1e[+]308"),
        ({"median": 1e9}, "time is at most"),
        ({"spread": 1e9}, "spread is 1000000000"),
        ({"median": 10**400}, "401 characters is too large"),
        ({"n": 10**30}, "31 characters is too large"),
    ],
)
def test_a_term_that_no_host_has(tmp_path: Path, change: dict[str, object], said: str) -> None:
    data = {"format": "migsim-host-profile", "version": 1, "qemu-version": "10.0"}
    term = {"median": 1e-5, "spread": 0.1, "unit": "s"} | change
    (tmp_path / "host.json").write_text(json.dumps(data | {"terms": {"stop_s": term}}))
    with pytest.raises(ProfileError, match=said):
        HostProfile.load(tmp_path / "host.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100 + "]" * 100])
def test_deep_files_are_refused_by_their_kind(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    for read, error in (
        (HostProfile.load, ProfileError),
        (MigrationResult.load, RecordError),
        (Workload.load, ScenarioError),
        (LabScenario.load, ScenarioError),
    ):
        with pytest.raises(error, match=r"deep\.json"):
            read(path)
    path.write_text("a = " + "[" * 5_000)
    with pytest.raises(ScenarioError):
        LabScenario.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("info", {"status": "completed", "downtime": 10**400}),
        ("downtime_parts_ms", {"stop": "long"}),
        ("downtime_parts_ms", {"stop": 1e300}),
        ("costs", {"guest-lost-s": -1.0}),
        ("events", ["STOP"]),
        ("timeline", {"t_s": [1.0, "x"]}),
        ("timeline", {"t_s": [{}]}),
        ("iterations", {"dirty_sync_count": "12"}),
        ("outcome", {"status": ["completed"]}),
        ("name", "\ud800"),
    ],
)
def test_a_record_that_no_run_gives(tmp_path: Path, name: str, value: object) -> None:
    data = json.loads(good_record(tmp_path)) | {name: value}
    (tmp_path / "record.json").write_text(json.dumps(data))
    with pytest.raises(RecordError, match=r"record\.json|outcome"):
        MigrationResult.load(tmp_path / "record.json")


@pytest.mark.parametrize(
    "change",
    [
        {"ram-bytes": 1 << 60, "ram-total-bytes": 1 << 60},
        {"writes-spread": 1e9},
        {"classes": [{"pages": 5, "writes-per-page-per-s": 1e300}]},
        {"classes": [{"pages": 5, "writes-per-page-per-s": 1.0, "extents": [[1 << 40, 5]]}]},
        {"classes": [{"pages": 5, "writes-per-page-per-s": 1.0, "extents": [[0, 6]]}]},
    ],
)
def test_a_workload_that_no_guest_has(tmp_path: Path, change: dict[str, object]) -> None:
    small_guest().save(tmp_path / "w.json")
    data = json.loads((tmp_path / "w.json").read_text()) | change
    (tmp_path / "w.json").write_text(json.dumps(data))
    with pytest.raises(ScenarioError):
        Workload.load(tmp_path / "w.json")


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for read, error in ((HostProfile.load, ProfileError), (MigrationResult.load, RecordError)):
            with pytest.raises(error, match="Only regular files are read"):
                read(path)


def test_files_of_many_megabytes_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate(1 << 40)  # without taking room
    with pytest.raises(ProfileError, match="at most 1048576"):
        HostProfile.load(tmp_path / "large.json")
    with pytest.raises(RecordError, match="at most 8388608"):
        MigrationResult.load(tmp_path / "large.json")


def test_every_flipped_bit_of_a_kept_piece_is_noticed(tmp_path: Path) -> None:
    columns = {name: np.arange(3.0) for name in column_names(intervals=False)}
    columns |= {"outcome": np.array([0, 1, 2], np.int8), "reason": np.array([-1, -1, 0], np.int32)}
    piece = Piece(columns, ("no",), "laws")
    store = Store(tmp_path)
    store.write("ab", piece)
    good = store.path("ab").read_bytes()
    assert store.read("ab", 3, intervals=False) is not None
    for place in range(0, len(good), 3):
        flipped = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        store.path("ab").write_bytes(flipped)
        assert store.read("ab", 3, intervals=False) is None, place
    assert len(store.damaged) == len(range(0, len(good), 3))

    for odd in (
        {"outcome": np.array([0, 1, 7], np.int8)},
        {"outcome": np.array([0.0, 1.0, 2.0])},
        {"reason": np.array([-1, -1, 5], np.int32)},
        {"reason": np.array([0, -1, -1], np.int32)},
        {"downtime": np.array(["a", "b", "c"])},
        {"downtime": np.array([1.0, np.inf, 2.0])},
        {"more": np.arange(3.0)},
    ):
        store.write("ab", replace(piece, columns=columns | odd))  # with a hash that is right
        assert store.read("ab", 3, intervals=False) is None, odd
    store.write("ab", piece)
    assert store.read("ab", 4, intervals=False) is None
    assert store.read("ab", 3, intervals=True) is None
    assert store.read("ab", 3, intervals=False) is not None
