"""Studies of a guest's migration: predictions, replays, sweeps, sizing, sensitivity.

- `basis`: what an answer stands on (profile, guest, link), and warnings where these do not fit
- `question`, `quantities`: the guest, host, settings and numbers that every study is asked with, and what an answer
  assumes or leaves out (`Question.assumptions`)
- `modelled`: each of QEMU's parameters and capabilities: modelled, without effect, named in the answer, or refused
- `predict`, `draws`, `draw_runs`: one migration, simulated once per draw of the uncertain inputs
- `replay`: one migration, by a trace's own pages
- `sweep`: one guest under many settings; `size`: the least or greatest value of a setting that meets requirements
- `sensitivity`: the uncertain inputs, ranked by their share in a figure's variance
- `guest_performance`, `guest_progress`, `users_compared`: work and transactions that a migration costs the guest
- `scaling`: a traced guest scaled to a larger one
- `matching`: the trace and the host profile that belong to a record
- `xbzrle_advice`, `xbzrle_sizes`, `dirty_bitmap`: studies of one mechanism

The engines that simulate one migration are in `migsim.engine`; pictures are in `migsim.plot`.
"""
