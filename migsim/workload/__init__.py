"""What a guest writes, as the models take it: page classes with rates, patterns and contents.

- `classes`: `Workload`, its `WorkloadClass`es and their `PageContent`

A trace becomes a workload in `migsim.calibrate.workload.fit`; what a lab guest is told to write is `migsim.scenario`'s.
"""

from migsim.workload.classes import PageContent, Workload, WorkloadClass

__all__ = ["PageContent", "Workload", "WorkloadClass"]
