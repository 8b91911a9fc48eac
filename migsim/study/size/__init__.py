"""The least or greatest value of one setting with which a migration keeps to what is required.

- `search`: the entry, `size`; the search, its answer, and why nothing will do
- `requirement`: reading ``downtime<500ms``, and which draws meet it
- `trials`: the range in which a value is looked for, and what the values that were tried gave

The migrations are simulated by `migsim.study.sweep`.
"""
