"""Calibration of a host: probe migrations, and the profile fitted to their records.

- `probes`: which migrations are run; `multifd` has those of multifd, with their terms
- `run`, `probe_runs`: running the probes, and keeping their records in a folder or an archive
- `fit`, `terms`: from the records to the profile: `terms` reads one term off one probe
- `guest_costs`: what a guest loses itself: `write_faults` by the log's faults, `slices` by the throttle's sleeps; both
  probes watch a `logged_guest`
- `intervals`: the interval of a median of few values, and terms told from none by it
- `sync_cost`: the parts of a bitmap sync's cost, from the syncs of many records

The profile itself is `migsim.profiles.HostProfile`; the migrations are run by `migsim.lab`.
"""
