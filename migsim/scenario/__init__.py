"""What a user declares: a guest of the lab, its QEMU, and a migration's settings.

- `guest`: what a lab guest is and is told to write
- `lab`: a lab scenario with QEMU and `MigrationSettings`, read from TOML

What is measured lives elsewhere: a host in `migsim.profiles`, a guest's writing in `migsim.workload`.
"""

from migsim.scenario.guest import GuestSpec, GuestWorkload, LinuxWorkload, PageClass
from migsim.scenario.lab import LabScenario, MigrationSettings, QemuSpec

__all__ = [
    "GuestSpec",
    "GuestWorkload",
    "LabScenario",
    "LinuxWorkload",
    "MigrationSettings",
    "PageClass",
    "QemuSpec",
]
