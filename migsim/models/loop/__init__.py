"""The migration loop: what each release does, what goes into the stream, and when the loop ends.

- `behaviour`: which QEMU release does what
- `page_stream`: bytes of each record in the stream
- `rate_limit`: the 100 ms window and its quota
- `migration_thread`: bandwidth estimate, threshold, when to sync, when to switch over
- `first_pass`: what a stop within the first pass over RAM leaves, and where pages lie
- `switchover`: the parts of the blackout
- `query_migrate`: the counters of QMP `query-migrate`
- `copies`: how often a byte is copied, and the most that one thread can send

Which pages are dirty is in `migsim.models.dirty`; the loop itself runs in `migsim.engine`.
"""
