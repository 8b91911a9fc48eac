"""The guest's own work: how fast it goes, what a migration costs it, and how it grows.

- `speed`: how fast a guest works from one moment of its migration to the next
- `work`: work done, lost and put off
- `scaling`: a traced guest's writing, scaled to a larger guest by a stated rule

Who slows it down is `migsim.models.throttle`'s; its users are `migsim.models.users`'s.
"""
