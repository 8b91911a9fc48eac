"""A live test that cannot run, and a skip where MIGSIM_LIVE is set, fail the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = "import pytest\ndef test_skips(): pytest.skip('because')\n"
LIVE = "import pytest\n@pytest.mark.live\ndef test_live(): pass\n"


@pytest.mark.parametrize(
    ("test", "environment", "code", "said"),
    [
        (SKIPS, {}, 0, "because"),
        (SKIPS, {"MIGSIM_LIVE": "1"}, 1, "a skipped test counts as a failure"),
        (LIVE, {"PATH": "/nowhere", "MIGSIM_QEMU_10": "qemu"}, 1, "Live tests need qemu-system-x86_64"),
    ],
)
def test_nothing_is_skipped_unseen(
    tmp_path: Path, test: str, environment: dict[str, str], code: int, said: str
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = live\n")
    (tmp_path / "test_it.py").write_text(test)
    clean = {name: value for name, value in os.environ.items() if name != "MIGSIM_LIVE"}
    clean["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean | environment,
        timeout=60,
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
