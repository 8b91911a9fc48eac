"""The root of the command line: what it loads, and how failures leave the process."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from migsim import __version__
from migsim.cli import console, main
from migsim.errors import TraceError, UsageError

ROOT = Path(__file__).parents[2]


def invoke(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main.run(list(arguments))
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def predict_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let `migsim predict NAME` call a function of the test's own."""

    def use(action: Callable[[], object]) -> None:
        def predict(name: str, *, depth: int = 1) -> None:
            action()

        module = types.ModuleType("migsim.cli.predict")
        module.predict = predict  # type: ignore[attr-defined]  # a module made here
        monkeypatch.setitem(sys.modules, "migsim.cli.predict", module)

    return use


def raise_(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


def test_done_is_0(predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    predict_does(lambda: print("answer"))
    assert invoke("predict", "x") == 0
    assert capsys.readouterr().out == "answer\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(typer.Exit(4), 4), (KeyboardInterrupt(), 130), (UsageError("a"), 2), (TraceError("a"), 3)],
)
def test_exit_codes(
    predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    predict_does(raise_(error))
    assert invoke("predict", "x") == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_bad_input_is_one_paragraph(
    predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    predict_does(
        raise_(TraceError("db.trace is cut short.", "A trace ends with its directory.", "Record it."))
    )
    assert invoke("predict", "x") == 3
    assert capsys.readouterr().err == (
        "migsim: db.trace is cut short. A trace ends with its directory. Record it.\n"
    )


def test_our_bug_shows_its_traceback(
    predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    predict_does(raise_(ZeroDivisionError("ours")))
    assert invoke("predict", "x") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "ZeroDivisionError: ours" in err and "a bug in migsim" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["predcit"], "predict"),
        (["traces", "info"], "trace"),
        (["predict", "x", "--dept", "2"], "--depth"),
        (["--versoin"], "--version"),
    ],
)
def test_near_misses_are_suggested(
    predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    predict_does(lambda: None)
    assert invoke(*arguments) == 2
    captured = capsys.readouterr()
    assert hint in captured.err and captured.out == ""


@pytest.mark.parametrize("arguments", [["predict"], ["predict", "x", "--depth", "deep"], ["nonsense"]])
def test_usage_errors_are_2(predict_does: Callable[..., None], arguments: list[str]) -> None:
    predict_does(lambda: None)
    assert invoke(*arguments) == 2


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke("--version") == 0
    assert capsys.readouterr().out == f"migsim {__version__}\n"
    assert invoke("--help") == 0
    listed = capsys.readouterr().out
    for name in ("predict", "sweep", "size", "sensitivity", "replay", "compare", "trace", "calibrate", "lab"):
        assert f" {name} " in listed


def test_help_loads_no_sub_command_and_nothing_heavy() -> None:
    code = """
import sys, json
sys.argv = ["migsim", "--help"]
from migsim.cli.main import run
try:
    run()
except SystemExit:
    pass
heavy = {"numpy", "pandas", "scipy", "matplotlib", "pyarrow", "simpy", "pydantic"} & set(sys.modules)
print(json.dumps(sorted(heavy | {m for m in sys.modules if m.startswith("migsim.")})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert set(loaded) == {
        "migsim.cli",
        "migsim.cli.main",
        "migsim.cli.signals",
        "migsim.errors",
        "migsim.version",
    }


def test_predict_loads_nothing_that_it_could_do_without() -> None:
    """Each of these takes as long to import as a quarter of a whole prediction, or longer."""
    code = """
import sys, json
from migsim.cli.main import run
try:
    run(["predict", "traces/hot-4g.trace", "--set", "max-bandwidth=2Gbps"])
except SystemExit as end:
    assert end.code == 0
unwanted = {"pandas", "scipy", "matplotlib", "numba", "xarray", "joblib", "pyarrow.compute"}
print(json.dumps(sorted(unwanted & set(sys.modules))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize(
    "name",
    ["predict", "sweep", "size", "sensitivity", "replay", "compare", "trace", "calibrate", "lab", "example"],
)
def test_every_listed_sub_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(name, "--help") == 0
    assert "Usage: migsim " + name in capsys.readouterr().out


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migsim", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"migsim {__version__}\n"


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"migsim": f"{main.run.__module__}:{main.run.__name__}"}


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("work", total=2) as update:
        update(1, "half")
        update(2)
    assert capsys.readouterr() == ("", "")


def test_progress_shows_on_stderr_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress("probing", total=2) as update:
        update(1, "zero scan")
    captured = capsys.readouterr()
    assert captured.out == "" and "probing" in captured.err


def test_a_piped_table_is_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    console.stdout_console().print("x" * 150)
    assert capsys.readouterr().out == "x" * 150 + "\n"


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("distributed.client", 3, "pip install 'migsim[cluster]'"),
        ("IPython", 3, "pip install 'migsim[notebook]'"),
        ("qemu.qmp", 3, "pip install 'migsim'"),
        ("migsim.gone", 1, "a bug in migsim"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    predict_does: Callable[..., None], capsys: pytest.CaptureFixture[str], name: str, code: int, words: str
) -> None:
    predict_does(raise_(ModuleNotFoundError(f"No module named {name!r}", name=name)))
    assert invoke("predict", "x") == code
    said = capsys.readouterr().err
    assert words in said and ("Traceback" in said) == (code == 1)


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(main._EXTRAS.values()) | {"dev"} == set(project["optional-dependencies"])
    needed = " ".join(project["dependencies"])
    assert "qemu.qmp" in needed and "psutil" in needed and "jupyter" not in needed


def test_the_example_is_copied_and_nothing_of_the_users_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert invoke("example", "a folder/inside") == 0
        assert "migsim predict 'a folder/inside/hot-4g.trace' --set" in capsys.readouterr().out
    assert len(list((tmp_path / "a folder" / "inside").iterdir())) == 2
    (tmp_path / "a folder" / "inside" / "hot-4g.trace").write_text("mine")
    assert invoke("example", "a folder/inside") == 3
    assert "overwrites nothing" in capsys.readouterr().err
    assert (tmp_path / "a folder" / "inside" / "hot-4g.trace").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert invoke("example", "file/inside") == 3
    assert "Cannot make the folder" in capsys.readouterr().err
