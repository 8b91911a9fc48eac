"""The batch engine's compiled code: where it is kept, what is said where it cannot be, what becomes of damaged code."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numba
import pytest

import migsim
from migsim.engine.batch import compile as compiling
from migsim.engine.batch.compile import _KeptCode
from tests.factories import small_guest


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in a folder of its own, named as the one that compiles."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "package"
    folder.mkdir()
    path = folder / "compile.py"
    path.write_text("def twice(number):\n    return 2 * number\n")
    specification = importlib.util.spec_from_file_location("compile", path)
    assert specification and specification.loader
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made


def kept(module: ModuleType) -> _KeptCode:
    return _KeptCode(module.twice, lambda **how: numba.njit(module.twice, **how))


def folder_of(module: ModuleType) -> Path:
    assert module.__file__
    return Path(module.__file__).parent


def forbid(folder: Path) -> None:
    """Make a folder's place one that nobody can write into, root neither."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")


def test_it_is_kept_beside_the_module(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert kept(module)(21) == 42
    assert list((folder_of(module) / "__pycache__").glob("compile.twice-*.nbc"))
    second = kept(module)
    assert second(4) == 8 and sum(second._run.stats.cache_hits.values()) == 1
    assert capsys.readouterr() == ("", "")


def test_it_is_kept_in_the_users_folder_where_the_module_cannot_be_written(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forbid(folder_of(module) / "__pycache__")
    assert kept(module)(21) == 42
    assert list((tmp_path / "cache" / "numba").rglob("compile.twice-*.nbc"))
    assert capsys.readouterr() == ("", "")


def test_where_nothing_can_be_written_it_is_compiled_and_said_once(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forbid(folder_of(module) / "__pycache__")
    forbid(tmp_path / "cache")
    code = kept(module)
    assert code(21) == 42 and code(2.5) == 5.0 and code(3) == 6
    said = capsys.readouterr().err
    assert said.count("is not kept") == 1 and "NUMBA_CACHE_DIR" in said


@pytest.mark.parametrize("name", ["compile.twice-*.nbi", "compile.twice-*.nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x05garbage", b"not ours", None])
def test_damaged_code_is_compiled_again_and_kept(
    module: ModuleType, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    kept(module)(21)
    (path,) = (folder_of(module) / "__pycache__").glob(name)
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    code = kept(module)
    assert code(21) == 42 and code(4) == 8
    assert capsys.readouterr().err.count("is not kept") == 1
    again = kept(module)
    assert again(21) == 42 and capsys.readouterr().err == ""
    assert sum(again._run.stats.cache_hits.values()) == 1


def test_a_disk_that_fills_up_while_it_compiles_costs_one_compilation(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code = kept(module)
    forbid(folder_of(module) / "__pycache__")
    assert code(21) == 42 and code(4) == 8
    assert sum(code._run.stats.cache_misses.values()) == 1
    assert capsys.readouterr().err.count("is not kept") == 1


def test_a_fault_of_the_compiled_function_is_not_hidden(module: ModuleType) -> None:
    with pytest.raises(numba.TypingError):
        kept(module)({"no": "number"})


def test_each_compilation_is_said_on_a_terminal(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code = kept(module)
    code(21)
    assert capsys.readouterr().err.count("compiling the batch engine") == 1
    code(22)
    kept(module)(23)
    assert capsys.readouterr().err == ""
    code(2.5)
    assert capsys.readouterr().err.count("compiling the batch engine") == 1


def test_one_process_of_a_sweeps_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import multiprocessing

    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-2")
    compiling._say("twice")
    assert capsys.readouterr().err == ""


def test_a_service_user_sizes_a_guest(tmp_path: Path) -> None:
    """Neither the package nor a home can be written; the whole loop is compiled, without optimisation, for time."""
    package = tmp_path / "site" / "migsim"
    shutil.copytree(
        Path(migsim.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "linux_guest")
    )
    forbid(package / "engine" / "batch" / "__pycache__")
    small_guest().save(tmp_path / "guest.json")
    environment = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": str(package.parent), "HOME": "/dev/null", "NUMBA_OPT": "0"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path)}
    words = [
        "size",
        "guest.json",
        "--qemu-version",
        "10.0",
        "--require",
        "downtime<500ms",
        "--minimise",
        "max-bandwidth",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "migsim", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert "max-bandwidth" in done.stdout and "Impossible" not in done.stdout
    assert done.stderr.count("is not kept") == 1 and len(done.stderr.splitlines()) == 1
