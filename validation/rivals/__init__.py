"""Predictors of other people, implemented from their descriptions and compared with ours on the same runs.

Their inputs are those of their authors: the size of the guest, the number of its pages that hold data, the curve of
unique dirty pages against window length, the bandwidth and the downtime limit. They share no code with `migsim`.

>>> from validation.rivals import RIVALS, RivalInputs
>>> guest = RivalInputs(ram_bytes=4 << 30, nonzero_pages=200_000, zero_pages=848_576,
...                     window_s=[0.5, 1.0, 2.0], dirty_pages=[9_000, 14_000, 19_000],
...                     max_bandwidth_bytes_per_s=125_000_000, downtime_limit_ms=300)
>>> {name: predict(guest).converges for name, predict in RIVALS.items()}
{'limit-as-downtime': None, 'ram-over-bandwidth': True, 'geometric-series': True, 'gudkov': True}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from validation.rivals import geometric_series, gudkov, limit_as_downtime, ram_over_bandwidth
from validation.rivals.interface import RivalInputs, RivalPrediction

__all__ = ["RIVALS", "RivalInputs", "RivalPrediction"]

RIVALS: Mapping[str, Callable[[RivalInputs], RivalPrediction]] = {
    "limit-as-downtime": limit_as_downtime.predict,
    "ram-over-bandwidth": ram_over_bandwidth.predict,
    "geometric-series": geometric_series.predict,
    "gudkov": gudkov.predict,
}
