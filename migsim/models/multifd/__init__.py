"""multifd: pages in packets over several channels.

- `packets`: packets, waits, windows and counters by release
- `threads`: the speed of its threads on shared processors, and what they leave the guest
"""
