"""The wheel, installed by pip into an empty environment: it works without the source tree and without extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import migsim
from migsim.example import FILES
from migsim.lab.guest_log import wait_ready
from tests.live_guest import live_guest

ROOT = Path(__file__).parents[1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def test_the_examples_are_those_that_validation_uses() -> None:
    originals = {path.name: path for path in (ROOT / "traces").glob("*.trace")}
    originals["hot-4g-record.json"] = ROOT / "validation/data/records/kvm-hot-4g-2gbps-300ms-q100-1.json"
    for name in FILES:
        assert (ROOT / "migsim" / "example" / name).read_bytes() == originals[name].read_bytes()


# The rest needs QEMU, a package index and some minutes of a processor: it runs with the live tests.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (path,) = folder.glob("migsim-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment's folder of programs."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", "-m", "pip", "install", "-q", wheel, cwd=folder)
    return folder / "venv" / "bin"


@pytest.mark.live
def test_the_wheel_carries_what_it_reads_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = Path(migsim.__file__).parent
    held = {
        f"migsim/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith("migsim-")} == held
    assert {f"migsim/example/{name}" for name in FILES} <= held
    assert wheel.stat().st_size < 3 << 20


@pytest.mark.live
def test_no_package_of_an_extra_comes_with_it(installed: Path) -> None:
    there = {
        entry["name"]
        for entry in json.loads(
            run(installed / "python", "-m", "pip", "list", "--format", "json", cwd=installed)
        )
    }
    assert {"migsim", "qemu.qmp", "psutil", "numba"} <= there
    assert not there & {"jupyter", "dask", "distributed", "pytest"}


@pytest.mark.live
def test_a_stranger_tries_it(installed: Path, tmp_path: Path) -> None:
    program = installed / "migsim"
    where = run(installed / "python", "-c", "import migsim; print(migsim.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))
    said = run(program, "example", cwd=tmp_path)
    lines = [line.strip() for line in said.splitlines() if line.startswith("  migsim ")]
    assert [line.split()[1] for line in lines] == ["trace", "predict", "compare", "sweep", "size"]
    for line in lines:
        assert run("bash", "-c", line.replace("migsim ", f"'{program}' ", 1), cwd=tmp_path)
    assert (tmp_path / "migsim-example" / "sweep.parquet").exists()
    code = "import migsim; print(migsim.predict('migsim-example/hot-4g.trace', draws=3))"
    assert run(installed / "python", "-c", code, cwd=tmp_path)


@pytest.mark.live
@pytest.mark.parametrize("method", ["stream", "dirty-rate"])
def test_it_records_a_real_guest(installed: Path, tmp_path: Path, method: str) -> None:
    with live_guest(tmp_path, "10.0", monitor="vm.sock") as qemu:
        wait_ready(qemu, 60.0)
        words = ["--qmp", "vm.sock", "-o", "vm.trace", "--method", method, "--duration", "3s"]
        run(installed / "migsim", "trace", "record", *words, cwd=tmp_path)
    answer = run(installed / "migsim", "predict", "vm.trace", "--format", "json", cwd=tmp_path)
    assert json.loads(answer)["outcome"] == "completed"
