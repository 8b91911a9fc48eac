"""Limit as downtime: the guest is stopped for exactly the downtime limit.

Planners and schedulers assume this when they read `downtime-limit` as a promise. The rival answers nothing else.
"""

from __future__ import annotations

from validation.rivals.interface import RivalInputs, RivalPrediction

__all__ = ["predict"]


def predict(inputs: RivalInputs) -> RivalPrediction:
    """Answer the downtime limit, in ms, and nothing else."""
    return RivalPrediction(downtime_ms=inputs.downtime_limit_ms)
