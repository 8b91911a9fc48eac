"""The dirty log under TCG, live: which release loses pages, and that its counts are the law's."""

import pytest

from migsim.lab.migrate import run_migration
from migsim.models.dirty.tcg_log import misses_writes
from migsim.scenario import LabScenario

pytestmark = pytest.mark.live

# So few pages that each keeps its entry in a TLB of 256, and a fast guest: all of them are written in any millisecond.
SCENARIO = """
name = "tcg-few-pages"
settle-s = 1
deadline-s = 4
[qemu]
command = "{command}"
version = "{version}"
accel = "tcg"
[guest]
ram-bytes = "128MiB"
[guest.workload]
touched-pages = 60
report-s = 0.2
check = {check}
[[guest.workload.classes]]
base-page = 0
pages = 60
[migration.parameters]
max-bandwidth = "20Mbps"
downtime-limit = "{limit}"
"""
BOTH = pytest.mark.parametrize(
    ("command", "version"), [("qemu-system-x86_64", "7.2"), ("$MIGSIM_QEMU_10", "10.0")]
)


def migrated(command, version, **changes):
    text = SCENARIO.format(
        command=command, version=version, **({"check": "true", "limit": "500ms"} | changes)
    )
    return run_migration(LabScenario.from_toml(text))


def test_what_is_missed_is_out_of_date_at_the_destination():
    """One round in which the log sees nothing, and 7.2 calls a migration completed that has lost the guest's work."""
    result = migrated("qemu-system-x86_64", "7.2", limit="1ms")
    assert result.info["status"] == "completed"
    assert result.verdict == "failed", result.outcome


def test_a_release_that_sees_every_write_keeps_the_guest_whole():
    result = migrated("$MIGSIM_QEMU_10", "10.0")
    assert result.verdict == "completed", result.outcome


@BOTH
def test_pages_that_keep_their_entries_are_seen_once_or_every_time(command, version):
    """With a millisecond's limit rounds go on as long as anything is seen."""
    result = migrated(command, version, check="false", limit="1ms")
    dirty = result.iterations["dirty_pages"].iloc[1:-1]
    assert dirty.iloc[0] > 60  # written in the first round, after the log start has emptied the TLB
    if misses_writes(version, "tcg"):
        assert result.verdict == "completed" and dirty.iloc[1:].max() < 10
    else:
        assert result.verdict == "not-converged" and dirty.median() > 60
