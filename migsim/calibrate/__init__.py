"""Calibration: from measurements to the inputs of the models.

- `workload`: from a trace's dirty pages to page classes
- `content`: from a trace's page samples to what a write does to a page's contents
- `host`: from probe migrations to a host profile
- `users`: from a guest's reports to the service demands of its users' transactions

Traces are read by `migsim.trace`, probes are run by `migsim.lab`; predictions are made in `migsim.study`.
"""
