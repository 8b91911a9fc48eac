"""Dirty pages: how many a guest makes, which of them QEMU learns of, and what learning costs.

- `page_writes`: how many distinct pages a guest writes in a while
- `hit_rates`: how often pages are written, from how often a trace saw them dirty
- `log`, `tcg_log`: which of them the log reports at the next sync, under KVM and under TCG
- `ring`: a vCPU's dirty ring
- `bitmap`: layout and size by release, and the cost of a sync in sum
- `sync`, `log_start`: that cost by its parts; the freeze at the start

What is sent of them is `migsim.models.loop`'s.
"""
