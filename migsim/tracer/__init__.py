"""Collectors that watch a guest which they did not start, through its QMP socket.

- `record`: recording one trace from start to end; `preflight`: what is asked of a guest before
- `auto`: the best collector that works here; `base`: what each of them offers
- `dirty_rate`: asks QEMU for rates over many windows
- `stream`: plays a migration's destination; `ring`: reads KVM's own log of dirty pages
- `content`: how pages change between two sendings, as statistics

The trace's format is `migsim.trace`'s, fitting it `migsim.calibrate`'s.
"""

from migsim.tracer.auto import METHODS, choose_collector, make_collector
from migsim.tracer.base import Availability, Collector
from migsim.tracer.record import Recording, record_trace

__all__ = [
    "METHODS",
    "Availability",
    "Collector",
    "Recording",
    "choose_collector",
    "make_collector",
    "record_trace",
]
