"""What every test run shares: where QEMU 10.0 is, and that live tests are never skipped unseen."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

_QEMU_10 = Path(__file__).parents[1] / "build" / "qemu-10" / "command"  # written by scripts/install_qemu.sh

if not os.environ.get("MIGSIM_QEMU_10") and _QEMU_10.exists():
    os.environ["MIGSIM_QEMU_10"] = _QEMU_10.read_text().strip()


# A job started in the background ignores Ctrl-C and hands that on: the tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, rather than skip, a live test on a machine that cannot run it."""
    if item.get_closest_marker("live") is None:
        return
    lacking = [name for name in ("qemu-system-x86_64",) if shutil.which(name) is None]
    lacking += [name for name in ("/dev/kvm",) if not os.access(name, os.R_OK | os.W_OK)]
    lacking += [] if os.environ.get("MIGSIM_QEMU_10") else ["QEMU 10.0 (MIGSIM_QEMU_10)"]
    if lacking:
        pytest.fail(
            f"Live tests need {', '.join(lacking)} here. They are never skipped unseen. "
            "Run scripts/install_qemu.sh on a host with KVM, or leave them out with -m 'not live'.",
            pytrace=False,
        )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where MIGSIM_LIVE is set (make test, CI), let a skipped test fail the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("MIGSIM_LIVE") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("\nMIGSIM_LIVE is set: a skipped test counts as a failure.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
