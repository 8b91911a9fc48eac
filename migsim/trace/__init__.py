"""The dirty-page trace: which pages a guest wrote to and when; page contents are never stored.

- `meta`: what a trace says about itself, `meta.json`; `members`: the columns of its Parquet files
- `data_map`: where pages with data lie, counted in coarse cells
- `writer`, `journal`: recording a trace into a ``FILE.part`` folder, and packing the folder into ``FILE``
- `archive`, `parquet`, `checks`: what a file claims and holds, checked as it is opened
- `reader`: opening a trace, packed or left over from a crash; `render`: its summary as text and as HTML
- `curve`: unique dirty pages against window length; `content`: how the sampled pages changed

Recording a guest is done by `migsim.tracer`, fitting a workload to a trace by `migsim.calibrate`.
"""

from migsim.trace.curve import UniqueDirtyCurve
from migsim.trace.meta import RamBlock, TraceMeta
from migsim.trace.reader import Trace
from migsim.trace.writer import TraceWriter, pack_part

__all__ = ["RamBlock", "Trace", "TraceMeta", "TraceWriter", "UniqueDirtyCurve", "pack_part"]
