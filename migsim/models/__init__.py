"""The laws of live migration: one mechanism a file, pure functions of numbers and arrays.

- `loop`: the migration thread's order of work, its rate limit, its switchover, and QEMU's counters
- `dirty`: which pages are dirty: the guest's writes, bitmaps, logs, rings, and the cost of a sync
- `xbzrle`: encoding, cache and page contents
- `throttle`: auto-converge and dirty-limit
- `multifd`: packets and threads
- `guest`: the guest's speed, and the work that it loses
- `users`: the transactions that the guest's users complete

No clock and no I/O lives here: the engines in `migsim.engine` let time pass and call these laws.
"""
