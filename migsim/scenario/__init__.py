"""What a user declares (a lab scenario) and what calibration yields (a workload, a host profile)."""

from migsim.scenario.guest import PAGE_BYTES, GuestSpec, GuestWorkload, LinuxWorkload, PageClass
from migsim.scenario.host import HostProfile, Term
from migsim.scenario.lab import LabScenario, MigrationSettings, QemuSpec
from migsim.scenario.workload import PageContent, Workload, WorkloadClass

__all__ = [
    "PAGE_BYTES",
    "GuestSpec",
    "GuestWorkload",
    "HostProfile",
    "LabScenario",
    "LinuxWorkload",
    "MigrationSettings",
    "PageClass",
    "PageContent",
    "QemuSpec",
    "Term",
    "Workload",
    "WorkloadClass",
]
