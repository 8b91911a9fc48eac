"""Real QEMU: guests started, migrated for real, and recorded; nothing is left behind.

`run_migration` runs one `LabScenario` and returns a measured `MigrationResult`; `QemuProcess` is one QEMU.
"""

from migsim.lab.migrate import run_migration
from migsim.lab.qemu import QemuProcess, split_command

__all__ = ["QemuProcess", "run_migration", "split_command"]
