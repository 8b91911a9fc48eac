"""A guest's users: a fixed number who think, ask, and wait for the answer.

- `closed_loop`: throughput and response time at one speed
- `speed_course`: the server's speed over time, and the clock of what runs inside it
- `course`: what the users complete while that speed changes
"""
