"""What a migration yields, simulated or measured; record files; comparison."""

from migsim.results.collection import ResultCollection
from migsim.results.compare import METRICS, compare, summarise
from migsim.results.iterations import ITERATION_COLUMNS, iterations_frame
from migsim.results.mechanisms import cache_hit_rate, throttle_steps
from migsim.results.migration_result import MigrationResult, Outcome, Status
from migsim.results.timeline import flatten_info, timeline_frame

__all__ = [
    "ITERATION_COLUMNS",
    "METRICS",
    "MigrationResult",
    "Outcome",
    "ResultCollection",
    "Status",
    "cache_hit_rate",
    "compare",
    "flatten_info",
    "iterations_frame",
    "summarise",
    "throttle_steps",
    "timeline_frame",
]
