"""Numbers that make no sense are refused by every entry of the API, and by each option of the command line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import migsim
from migsim.calibrate.host.multifd import measure_multifd
from migsim.calibrate.host.run import measure_host
from migsim.cli import main
from migsim.errors import MigsimError
from migsim.lab.migrate import run_migration
from migsim.models.users.closed_loop import UserLoop
from migsim.scenario import GuestSpec, GuestWorkload, LabScenario, QemuSpec
from migsim.study.question import Question
from migsim.study.scaling import GuestSize
from migsim.tracer.dirty_rate import DirtyRateCollector
from migsim.tracer.record import record_trace
from migsim.tracer.stream.collector import StreamCollector
from tests.factories import host_profile, small_guest

GUEST, HOST = small_guest(), host_profile()
VARY = {"downtime-limit": "50:300"}
NAN, INF = math.nan, math.inf
NO_COUNT = (NAN, INF, -INF, 0, -2, 2.5, True, "x", "nan", "2.5", 2**63, [3])
NO_TIME = (NAN, INF, 0, -1, -0.5, True, "x", "5m", None, [3])
SHARES = (NAN, INF, 0, -0.1, 1.5, True, "x", "150%", None)
QEMU = QemuSpec(command="no-such-qemu", version="10.0", accel="tcg")
SCENARIO = LabScenario(
    name="a", qemu=QEMU, guest=GuestSpec(ram_bytes="64MiB", workload=GuestWorkload(touched_pages=9))
)


def question(**keywords: Any) -> Question:
    return Question(GUEST, host=HOST, **keywords)


def sweep(**keywords: Any) -> Any:
    return migsim.sweep(GUEST, host=HOST, vary=VARY, **keywords)


def size(**keywords: Any) -> Any:
    return migsim.size(GUEST, host=HOST, require="downtime<1s", minimise="downtime-limit", **keywords)


def users(**keywords: Any) -> Question:
    return question(users=UserLoop.of_one_class(**{"users": 5, "think_s": 1.0, "demand_s": 0.01} | keywords))


def guest_size(**keywords: Any) -> GuestSize:
    return GuestSize(**{"ram_bytes": 1 << 30, "vcpus": 1, "users": 5, "transactions_per_s": 5.0} | keywords)


TAKEN: list[tuple[Callable[..., Any], str, tuple[Any, ...]]] = [
    (question, "link_bytes_per_s", (NAN, INF, 0, -5, True, "0", "nan")),
    (question, "deadline_s", (*NO_TIME, "inf")),
    (question, "load", tuple(share for share in SHARES if share is not None)),
    (question, "writes_scale", (NAN, INF, -1, True, None, "nan")),
    (question, "draws", (*NO_COUNT, None)),
    (question, "seed", (NAN, INF, -1, 0.5, True, None)),
    (question, "vcpus", NO_COUNT),
    (question, "fresh_pages", (NAN, INF, -5, 0.5, True)),
    (question, "dirty_ring_size", (NAN, INF, -1, 2.5, True, None)),
    (sweep, "samples", NO_COUNT),
    (sweep, "jobs", (*NO_COUNT, None)),
    (size, "jobs", (*NO_COUNT, None)),
    (size, "confidence", SHARES),
    (lambda **k: migsim.sensitivity(GUEST, host=HOST, **k), "samples", (*NO_COUNT, None, 1, 3, 100)),
    (users, "users", (NAN, INF, 0, -1, 2.5, True)),
    (users, "think_s", (NAN, INF, -1)),
    (users, "demand_s", (NAN, INF, -1)),
    (users, "vcpus", (NAN, INF, 0, -1, 2.5, True)),
    (guest_size, "ram_bytes", (*NO_COUNT, None)),
    (guest_size, "vcpus", (*NO_COUNT, None)),
    (guest_size, "users", (*NO_COUNT, None)),
    (guest_size, "transactions_per_s", (NAN, INF, 0, -1, True, "x")),
    (guest_size, "buffers_fraction", SHARES),
    (guest_size, "zero_fraction", (NAN, INF, -0.1, 1.5, True)),
    (lambda **k: record_trace("no-such-socket", "a.trace", **k), "duration_s", NO_TIME),
    (StreamCollector, "max_bandwidth", (*NO_COUNT, None, 100)),
    (StreamCollector, "windows_s", ([], *([bad] for bad in NO_TIME))),
    (StreamCollector, "sampled_pages", (NAN, INF, -1, 0.5, True, None)),
    (DirtyRateCollector, "windows_s", tuple([bad] for bad in NO_TIME)),
    (lambda **k: measure_host(QEMU, **k), "repeats", (*NO_COUNT, None)),
    (lambda **k: measure_multifd(HOST, QEMU, **k), "repeats", (*NO_COUNT, None)),
    (
        lambda **k: run_migration(SCENARIO, **k),
        "ready_timeout_s",
        tuple(bad for bad in NO_TIME if bad is not None),
    ),
]


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [pytest.param(call, name, bad, id=f"{name}-{bad!r}") for call, name, values in TAKEN for bad in values],
)
def test_it_is_refused_and_named(call: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(MigsimError) as refused:
        call(**{name: value})
    said = str(refused.value)
    assert "no-such" not in said  # refused before the work
    assert len(said.split(". ")) >= 2


SOCKET = "--qmp no-such-socket -o a.trace"
OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "predict guest.json --host host.json": {
        "--link": ("nan", "inf", "0", "-5"),
        "--load": ("nan", "inf", "0", "-1", "150%"),
        "--deadline": ("nan", "inf", "0", "-1s"),
        "--draws": ("nan", "inf", "0", "-1", "2.5"),
        "--seed": ("nan", "-1", "0.5"),
        "--writes-scale": ("nan", "inf", "-1"),
        "--users": ("nan", "0", "-1", "2.5"),
    },
    "sweep guest.json --host host.json -o a.csv --vary downtime-limit=50:300": {
        "--samples": ("nan", "inf", "0", "-1", "2.5"),
        "--jobs": ("nan", "inf", "0", "-2", "2.5"),
        "--transactions": ("nan", "inf", "0", "-1"),
        "--buffers": ("nan", "inf", "0", "150%"),
    },
    'size guest.json --host host.json --require "downtime<1s" --minimise downtime-limit': {
        "--jobs": ("nan", "inf", "0", "-2", "2.5"),
        "--confidence": ("nan", "inf", "0", "150%"),
    },
    "sensitivity guest.json --host host.json": {"--samples": ("nan", "inf", "0", "-1", "2.5", "100")},
    f"trace record {SOCKET}": {"--duration": ("nan", "inf", "0s", "-1s", "30m")},
    "lab trace scenario.toml -o a.trace": {
        "--duration": ("nan", "inf", "0s", "-1s"),
        "--dirty-ring-size": ("nan", "-1", "3", "2.5"),
    },
    "lab migrate scenario.toml -o r.json": {
        "--ready-timeout": ("nan", "inf", "0s", "-1s"),
        "--repeat": ("nan", "0", "-1", "2.5"),
        "--users-seed": ("nan", "-1", "2.5"),
    },
    "calibrate host -o h.json --qemu no-such-qemu": {"--repeats": ("nan", "0", "-1", "2.5")},
    "calibrate multifd host.json --qemu no-such-qemu": {"--repeats": ("nan", "0", "-1", "2.5")},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("absurd")
    GUEST.save(made / "guest.json")
    HOST.save(made / "host.json")
    (made / "scenario.toml").write_text(SCENARIO.to_toml())
    return made


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        (line, option, bad)
        for line, taken in OPTIONS.items()
        for option, values in taken.items()
        for bad in values
    ],
)
def test_the_command_line_refuses_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    option: str,
    value: str,
) -> None:
    import shlex

    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    more = ["--users", "5"] if option in ("--transactions", "--buffers") else []
    more += ["--transactions", "5"] if option == "--buffers" else []
    more += ["--demand", "5ms"] if option == "--users" else []
    with pytest.raises(SystemExit) as end:
        main.run([*shlex.split(line), *more, f"{option}={value}"])
    said = capsys.readouterr()
    assert end.value.code in (2, 3)
    assert said.out == "" and "Traceback" not in said.err
    assert option.strip("-") in said.err.replace("transactions a second", "transactions").replace("_", "-")
    assert "no-such" not in said.err  # refused before the work
    assert sorted(folder.iterdir()) == before
