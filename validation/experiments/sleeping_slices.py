"""How much less a thread works in 10 ms after a sleep, as a throttled vCPU does on this machine.

    python -m validation.experiments.sleeping_slices [--seconds 3] [--repeats 3]

A compiled loop adds numbers at random places of an array, in slices of 10 ms with sleeps between them, like a vCPU
under QEMU's throttle. The result is the work a second inside slices, over that of the same loop without sleeps. The
loss grows with the sleep and, as long as the caches hold the array, with the array: caches are cold after a sleep.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from migsim.models.throttle.cpu_throttle import SLICE_S, sleep_s

__all__ = ["main", "work_per_s"]

ARRAY_KIB = (1, 512, 4096, 65536)
PERCENTAGES = (20, 50, 80, 90)
_STEPS = 200


def work_per_s(kib: int, sleep: float, seconds: float) -> float:
    """Measure steps a second inside slices, with sleeps of `sleep` seconds between them."""
    step = _compiled()
    numbers = np.arange(kib * 128, dtype=np.uint64)
    state = np.array([88172645463325252, 0], dtype=np.uint64)
    step(numbers, state, _STEPS)
    steps, worked_s, end = 0, 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = now = time.perf_counter()
        while now - begin < SLICE_S:
            step(numbers, state, _STEPS)
            steps += _STEPS
            now = time.perf_counter()
        worked_s += now - begin
        if sleep:
            time.sleep(sleep)
    return steps / worked_s


def main(arguments: list[str] | None = None) -> None:
    """Run the experiment and print a line for each array."""
    parser = argparse.ArgumentParser(prog="validation.experiments.sleeping_slices", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    print("array KiB   work of a slice after a throttle's sleep, by percentage: median (least .. most)")
    for kib in ARRAY_KIB:
        shares: dict[int, list[float]] = {}
        for _ in range(options.repeats):
            awake = work_per_s(kib, 0.0, options.seconds)
            for percentage in PERCENTAGES:
                slept = work_per_s(kib, sleep_s(percentage), options.seconds)
                shares.setdefault(percentage, []).append(slept / awake)
        cells = (
            f"{percentage} %: {statistics.median(of_one):.3f} ({min(of_one):.3f} .. {max(of_one):.3f})"
            for percentage, of_one in shares.items()
        )
        print(f"{kib:<11} {'   '.join(cells)}", flush=True)


def _compiled() -> Callable[[NDArray[np.uint64], NDArray[np.uint64], int], None]:
    import numba

    def step(numbers: NDArray[np.uint64], state: NDArray[np.uint64], steps: int) -> None:
        x, total = state[0], state[1]
        for _ in range(steps):
            x ^= x << np.uint64(13)
            x ^= x >> np.uint64(7)
            x ^= x << np.uint64(17)
            total += numbers[x % np.uint64(len(numbers))]
        state[0], state[1] = x, total

    return cast(Callable[[NDArray[np.uint64], NDArray[np.uint64], int], None], numba.njit(step))


if __name__ == "__main__":
    main()
