"""Limit as downtime: the guest will be stopped for as long as it may be.

What planners and schedulers assume when they read `downtime-limit` as a promise. It says nothing else.
"""

from __future__ import annotations

from validation.rivals.interface import RivalInputs, RivalPrediction

__all__ = ["predict"]


def predict(inputs: RivalInputs) -> RivalPrediction:
    """Answer the downtime limit, in ms, and nothing else."""
    return RivalPrediction(downtime_ms=inputs.downtime_limit_ms)
