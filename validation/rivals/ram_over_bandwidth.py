"""RAM over bandwidth: memory is copied once, at the speed of the link.

    total = RAM / bandwidth

This is a rule of thumb of capacity planning. It ignores zero pages and later rounds, and always converges.
"""

from __future__ import annotations

from validation.rivals.interface import RivalInputs, RivalPrediction

__all__ = ["predict"]


def predict(inputs: RivalInputs) -> RivalPrediction:
    """Answer the time to copy all memory once; no downtime."""
    return RivalPrediction(
        total_time_ms=1000.0 * inputs.ram_bytes / inputs.max_bandwidth_bytes_per_s,
        transferred_bytes=float(inputs.ram_bytes),
        rounds=1,
        converges=True,
    )
