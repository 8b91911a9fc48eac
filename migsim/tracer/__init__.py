"""Collectors that watch a guest which they did not start, through its QMP socket.

``dirty-rate`` asks QEMU for rates over many windows, ``stream`` plays a migration's destination,
``dirty-ring`` reads KVM's own log of dirty pages; ``auto`` takes the best that works.
"""

from migsim.tracer.auto import METHODS, choose, collector
from migsim.tracer.base import Availability, Collector
from migsim.tracer.record import Recording, record_trace

__all__ = ["METHODS", "Availability", "Collector", "Recording", "choose", "collector", "record_trace"]
