"""Dirty pages: how many a guest makes, which of them QEMU reports, and what dirty tracking costs.

- `page_writes`: the number of distinct pages that a guest writes in a time
- `hit_rates`: how often a page is written, from the intervals in which a trace found it dirty
- `log`, `tcg_log`: which written pages the dirty log reports at the next sync, under KVM and under TCG
- `ring`: a vCPU's dirty ring
- `bitmap`: layout and size of the bitmaps by release, and the cost of a sync as a whole
- `sync`, `log_start`: the parts of a sync's cost; the freeze at the start

How dirty pages are sent is in `migsim.models.loop`.
"""
