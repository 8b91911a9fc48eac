"""Sizing: the least or greatest value of one setting with which a migration meets requirements.

- `search`: the entry, `size`; the search, its answer `Sizing`, and the reason where no value suffices
- `requirement`: `Requirement`, read from ``downtime<500ms``, and the draws that meet it
- `nearest`: the nearest settings with which a migration converges that does not
- `trials`: default ranges, and the results of the values that were simulated

The migrations are simulated by `migsim.study.sweep`.
"""
