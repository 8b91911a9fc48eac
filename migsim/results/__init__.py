"""What a migration yields, simulated or measured, in one type.

- `migration_result`: `MigrationResult`; `collection`: many of them
- `figures`: the table of figures: name, unit, meaning, QEMU's field
- `iterations`, `timeline`, `guest_speed`: its tables; `lazy`: tables that are computed on first access
- `mechanisms`, `transactions`, `linux_lines`: what it says of XBZRLE, throttling, and a Linux guest's users
- `compare`: predicted beside measured
- `record_file`, `render`: as JSON on disk, as HTML in notebooks

Simulating one is `migsim.engine`'s, measuring one `migsim.lab`'s.
"""

from migsim.results.collection import ResultCollection
from migsim.results.compare import compare, summarise
from migsim.results.figures import COMPARED, FIGURES, INTERVALS
from migsim.results.guest_speed import GUEST_SPEED_COLUMNS, guest_speed_frame
from migsim.results.iterations import ITERATION_COLUMNS, iterations_frame
from migsim.results.lazy import lazy_table
from migsim.results.mechanisms import cache_hit_rate, throttle_steps
from migsim.results.migration_result import MigrationResult, Outcome, Status
from migsim.results.timeline import flatten_info, timeline_frame
from migsim.results.transactions import lost_transactions, transactions

__all__ = [
    "COMPARED",
    "FIGURES",
    "GUEST_SPEED_COLUMNS",
    "INTERVALS",
    "ITERATION_COLUMNS",
    "MigrationResult",
    "Outcome",
    "ResultCollection",
    "Status",
    "cache_hit_rate",
    "compare",
    "flatten_info",
    "guest_speed_frame",
    "iterations_frame",
    "lazy_table",
    "lost_transactions",
    "summarise",
    "throttle_steps",
    "timeline_frame",
    "transactions",
]
