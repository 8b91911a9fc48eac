"""One guest to try migsim with; `migsim example` copies it.

- ``hot-4g.trace``: a trace of a guest of 4 GiB, 20,000 of its pages hot
- ``hot-4g-record.json``: the record of a real migration of that guest, at 2 Gbps, on another day

Both are copies of files in ``traces/`` and ``validation/data/records/``, so that an installed migsim has them.
"""

FILES = ("hot-4g.trace", "hot-4g-record.json")
"""Names of the files."""
