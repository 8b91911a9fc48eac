"""Collectors: they record which pages a running guest writes, through the QMP socket of its QEMU.

- `record`: recording one trace from start to end; `preflight`: the queries made before it; `guest_settings`: the
  guest's own settings, kept while a recording has changed them
- `base`: the interface of a collector; `auto`: choosing the best collector for a guest
- `dirty_rate`: asks QEMU for dirty rates over many windows
- `stream`: acts as the destination of a migration; `ring`: reads KVM's log of dirty pages
- `content`: statistics of how pages change between two sendings

The file format is defined in `migsim.trace`, fitting a workload to a trace in `migsim.calibrate`.
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
