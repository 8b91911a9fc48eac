"""What a user declares: a guest of the lab, its QEMU, and the migration's settings.

- `guest`: the guest machine, and what its workload does
- `lab`: `LabScenario` with its QEMU and its `MigrationSettings`, read from TOML

What is measured or fitted lives elsewhere: hosts in `migsim.profiles`, a guest's writes in `migsim.workload`. The lab
that runs a scenario is `migsim.lab`.
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
