"""The conversation with a QEMU's monitor: the only room that imports qemu.qmp.

- `session`: a synchronous session over a monitor socket, `QmpSession`
- `messages`: what it hears, `QmpEvent`, and what QEMU refuses, `QmpCommandError`

What commands mean is elsewhere: `migsim.qapi` has QEMU's vocabulary, `migsim.tracer` and `migsim.lab` talk to guests.
"""

from migsim.qmp.messages import QmpCommandError, QmpEvent
from migsim.qmp.session import QmpSession

__all__ = ["QmpCommandError", "QmpEvent", "QmpSession"]
