"""A host's profile from short probe migrations.

- `run`: the probes, and the profile made of their records
- `probe_runs`: running probes, and keeping their records in a folder or an archive
- `terms`: what one probe says about one term
- `sync_cost`: the cost of a bitmap sync by its parts
- `multifd`: the probes and terms of multifd's threads

The profile itself is `migsim.profiles.HostProfile`; the probes are run by `migsim.lab`.
"""
