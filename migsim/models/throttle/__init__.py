"""Slowing the guest down: when QEMU decides to, by how much, and how.

- `trigger`: when a guest has to be slowed down, for auto-converge and dirty-limit alike
- `auto_converge`: how far the vCPUs are throttled
- `cpu_throttle`: when throttled vCPUs sleep, and how much they still run
- `dirty_limit`: the controller that holds each vCPU to a dirty rate

What that costs the guest is `migsim.models.guest`'s.
"""
