"""A traced guest's writing, fitted: how many pages are written how often, and where they lie.

- `fit`: the entry, `fit_workload`, and what it returns
- `rounds`: the points of the curve of unique dirty pages that a trace holds
- `spectrum`: rates on a grid by non-negative least squares; `least_squares`: its solvers
- `parsimony`: as few classes as the points tell apart
- `placement`: which pages belong to which class
"""
