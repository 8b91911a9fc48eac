"""Throttling: when QEMU slows the guest down, by how much, and how.

- `trigger`: the decision that a guest has to be slowed down, for auto-converge and dirty-limit alike
- `auto_converge`: the throttle percentage
- `cpu_throttle`: the sleeps of throttled vCPUs, and the share of time that they run
- `slices`: the work that a slice lacks after a sleep
- `dirty_limit`: the controller that holds each vCPU to a dirty rate

What throttling costs the guest's work is in `migsim.models.guest`.
"""
