"""What users ask of a traced guest: predictions, sweeps, sizes, and what an answer hangs on.

- `predict`, `draws`: one migration as draws of what is uncertain
- `sweep`: one guest under many settings; `size`: the least setting that will do
- `sensitivity`: which uncertain input a figure hangs on
- `guest_performance`, `guest_progress`, `users_compared`: what the guest and its users lose
- `scaling`: a traced guest taken for a larger one
- `matching`: which trace and profile belong to a record
- `xbzrle_advice`, `xbzrle_sizes`, `dirty_bitmap`: studies of one mechanism

Simulating a single migration is `migsim.engine`'s; pictures are `migsim.plot`'s.
"""
