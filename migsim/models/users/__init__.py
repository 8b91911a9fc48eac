"""A guest's users in a closed loop: each thinks, asks for a transaction, and waits for the answer.

- `closed_loop`: throughput and response time at one speed
- `speed_course`: the server's speed over time, and the clock of programs inside the guest
- `course`: the transactions completed while that speed changes

Single users are simulated in `migsim.engine.users`; the guest's speed is in `migsim.models.guest`.
"""
