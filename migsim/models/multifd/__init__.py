"""multifd: pages in packets over several channels.

- `packets`: packets, waits, windows and counters by release
- `threads`: the speed of multifd's threads on shared processors, and the share of them that the guest keeps

The channels themselves are simulated in `migsim.engine`.
"""
