"""What every test run shares: how examples are drawn, where QEMU 10.0 is, and no live test skipped unseen."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in each run; no bound on time, which a busy machine would break. `make fuzz` draws new ones.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("repeatable"), derandomize=False, max_examples=300)
settings.load_profile("repeatable")

_QEMU_10 = Path(__file__).parents[1] / "build" / "qemu-10" / "command"  # written by scripts/install_qemu.sh

if not os.environ.get("MIGSIM_QEMU_10") and _QEMU_10.exists():
    os.environ["MIGSIM_QEMU_10"] = _QEMU_10.read_text().strip()


# A job started in the background ignores Ctrl-C and hands that on: the tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load all of migsim before the first example: Hypothesis tries the constants of modules that are loaded."""
    if any(item.get_closest_marker("hypothesis") for item in session.items):
        import migsim

        for module in pkgutil.walk_packages(migsim.__path__, "migsim."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


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
