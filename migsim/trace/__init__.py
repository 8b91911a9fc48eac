"""The dirty-page trace: what a guest wrote to and when, with no page contents in it.

A trace is one ``.trace`` file (a zip of ``meta.json`` and Parquet members); while it is recorded it is a
``FILE.part`` folder that opens just the same, up to the last whole interval.
"""

from migsim.trace.curve import UniqueDirtyCurve
from migsim.trace.meta import RamBlock, TraceMeta
from migsim.trace.reader import Trace
from migsim.trace.writer import TraceWriter, pack_part

__all__ = ["RamBlock", "Trace", "TraceMeta", "TraceWriter", "UniqueDirtyCurve", "pack_part"]
