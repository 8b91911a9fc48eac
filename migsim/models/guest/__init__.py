"""The guest's work: its speed, what a migration costs it, and how its writes grow with its size.

- `speed`: the guest's speed over the time of its migration
- `work`: work done, lost and delayed
- `activity`: how the write rate moves about its mean
- `scaling`: the writes of a traced guest, scaled to a larger guest by a stated rule

Throttling is in `migsim.models.throttle`, the guest's users in `migsim.models.users`.
"""
