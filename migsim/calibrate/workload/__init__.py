"""Calibration of a workload: how many pages a traced guest writes how often, and where they lie.

- `fit`: the entry `fit_workload`, and the `WorkloadFit` that it returns
- `rounds`: points of the curve of unique dirty pages, from a trace's rounds
- `spectrum`: page classes by non-negative least squares over a grid of rates; `least_squares`: its solvers
- `parsimony`: joins classes that the pages' hits do not tell apart
- `activity`: how the guest's activity wanders, from the rounds' counts
- `rates`: what the trace leaves open of the classes' rates
- `placement`: which pages belong to which class

The workload itself is `migsim.workload.Workload`; its pages' contents are fitted by `migsim.calibrate.content`.
"""
