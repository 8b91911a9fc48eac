"""The lab: guests started under a real QEMU, migrated, and recorded.

- `migrate`, `running`: one migration of a `LabScenario`, or a guest that only runs, for a tracer
- `qemu`, `machine`, `linux_machine`, `sides`: QEMU processes, their command lines, the two sides of a migration
- `cores`: the processors of each side
- `guest_log`, `linux_log`, `trace_events`, `host_load`: what guests, QEMU and the host say during a run
- `record`, `rounds`, `switchover`: from that to a `MigrationResult`
- `version`: which version a QEMU command is
- `guest`, `linux_guest`: the two guests, their images and command lines

Both QEMUs, their sockets and temporary folders are gone when a run ends. Scenarios are declared in `migsim.scenario`;
tracing a guest is `migsim.tracer`'s.
"""

from migsim.lab.migrate import run_migration
from migsim.lab.qemu import QemuProcess, split_command

__all__ = ["QemuProcess", "run_migration", "split_command"]
