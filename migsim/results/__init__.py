"""Results of migrations, simulated or measured: one type for both, record files, tables and comparison.

- `migration_result`: `MigrationResult`, the result of one migration; `collection`: many of them
- `iterations`, `timeline`, `guest_speed`: tables of a result; `lazy`: tables that are made on first access
- `record_file`: a result as a JSON file; `render`: a result as HTML
- `figures`: the table of figures: name, unit, meaning, QEMU's field; `standing`: figures of a migration's rounds that
  do not converge
- `compare`: predictions beside measurements; `mechanisms`: figures of XBZRLE and of throttling
- `transactions`, `linux_lines`: the operations that a Linux guest of the lab completed, from its serial port

Results are made by `migsim.engine` and `migsim.lab`; predictions of many draws are made in `migsim.study`.
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
