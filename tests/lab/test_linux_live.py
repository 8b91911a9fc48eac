"""A Linux guest with its database, migrated for real: it works on, and its losses can be told."""

import pytest

from migsim.lab.migrate import run_migration
from migsim.results import MigrationResult, lost_transactions, transactions
from migsim.scenario import LabScenario

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]  # the image may have to be built first

SCENARIO = """
name = "linux-smoke"
settle-s = 4
deadline-s = 60
[qemu]
command = "$MIGSIM_QEMU_10"
version = "10.0"
accel = "tcg"
[guest]
ram-bytes = "1GiB"
[guest.linux]
workload = "store"
users = 20
think-s = 0.2
report-s = 0.5
[migration.parameters]
max-bandwidth = "3Gbps"
downtime-limit = "500ms"
"""


def test_a_linux_guest_works_on_at_the_destination(linux_image, tmp_path):
    result = run_migration(LabScenario.from_toml(SCENARIO))
    assert result.verdict == "completed", result.outcome
    result.save(tmp_path / "record.json")
    again = MigrationResult.load(tmp_path / "record.json")
    assert "/tmp" not in (tmp_path / "record.json").read_text()
    assert again.provenance["linux_image"]["kernel"] == linux_image.kernel_release
    seen = transactions(again)
    assert set(seen["side"]) == {"source", "destination"}
    arrived = seen[seen["side"] == "destination"]
    assert arrived["completed"].sum() > 0 and arrived["clock_s"].is_monotonic_increasing
    # the guest's clock and the host's run alike on either side, and differ by the blackout between them
    for side in ("source", "destination"):
        apart = (seen["t_s"] - seen["clock_s"])[seen["side"] == side]
        assert apart.max() - apart.min() < 1e-6
    jump = (seen["t_s"] - seen["clock_s"]).max() - (seen["t_s"] - seen["clock_s"]).min()
    assert jump == pytest.approx(again.blackout_ms / 1000, abs=0.3)
    lost = lost_transactions(again).set_index("operation")
    assert lost.loc["all", "completed"] > 0 and lost.loc["all", "before_per_s"] > 1
