"""From what was measured to what the models need.

- `workload`: a trace's curve of dirty pages to classes of pages
- `content`: a trace's samples to what writes do to the pages' contents
- `host`: probe migrations to a host profile
- `users`: a guest's own report to its users

Reading a trace is `migsim.trace`'s, running a probe `migsim.lab`'s.
"""
