"""What a guest writes, as the models take it: page classes with rates, patterns and contents.

- `classes`: `Workload`, its `WorkloadClass`es and their `PageContent`

Workloads are fitted to traces by `migsim.calibrate.workload`; what a lab guest is told to write is declared in
`migsim.scenario`.
"""

from migsim.workload.classes import PageContent, Workload, WorkloadClass

__all__ = ["PageContent", "Workload", "WorkloadClass"]
