"""What a migration yields, simulated or measured; record files; comparison."""

from migsim.results.collection import ResultCollection
from migsim.results.compare import compare, summarise
from migsim.results.figures import COMPARED, FIGURES, INTERVALS
from migsim.results.guest_speed import GUEST_SPEED_COLUMNS, guest_speed_frame
from migsim.results.iterations import ITERATION_COLUMNS, iterations_frame
from migsim.results.mechanisms import cache_hit_rate, throttle_steps
from migsim.results.migration_result import MigrationResult, Outcome, Status
from migsim.results.timeline import flatten_info, timeline_frame
from migsim.results.transactions import lost_transactions, transactions
from migsim.results.waiting import later

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
    "later",
    "lost_transactions",
    "summarise",
    "throttle_steps",
    "timeline_frame",
    "transactions",
]
