"""QMP sessions with QEMU's monitor; no other package imports qemu.qmp.

- `session`: `QmpSession`, a synchronous session over a monitor socket
- `messages`: `QmpEvent`, an event, and `QmpCommandError`, the refusal of a command
- `answers`: the shapes of QEMU's answers, which the session checks

The names and types of QEMU's settings are defined in `migsim.qapi`; `migsim.tracer` and `migsim.lab` use the sessions.
"""

from migsim.qmp.messages import QmpCommandError, QmpEvent
from migsim.qmp.session import QmpSession

__all__ = ["QmpCommandError", "QmpEvent", "QmpSession"]
