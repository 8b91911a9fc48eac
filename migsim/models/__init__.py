"""The laws of live migration: one mechanism a file, pure functions of numbers and arrays.

No clock and no I/O lives here: time passes in `migsim.engine`, which calls these laws.

| file | mechanism |
|---|---|
| `behaviour` | which QEMU release does what |
| `page_writes` | how many distinct pages a guest writes in a while |
| `hit_rates` | how often pages are written, from how often a trace saw them dirty |
| `dirty_log` | which of them the log reports at the next sync (protect windows, lazily cleared chunks) |
| `dirty_bitmap` | bitmaps: their layout by release, their size, the cost of a sync and of starting the log in sum |
| `bitmap_sync`, `log_start` | that cost by its parts; the freeze at the start, and who waits in it |
| `big_lock` | which phases hold the big lock, and how late I/O and timers get |
| `copies` | how often a byte is copied, and the ceiling of one thread by its parts |
| `iothread`, `thread_branch` | the two designs of 2012: main loop, and migration thread |
| `idle_guest` | what an idle Linux guest's memory holds |
| `page_stream` | bytes of each record in the stream |
| `rate_limit` | the 100 ms window and its quota |
| `migration_thread` | bandwidth estimate, threshold, when to sync, when to switch over |
| `multifd` | multifd's packets, waits, windows and counters by release |
| `multifd_threads` | the speed of its threads on shared processors, and what they leave the guest |
| `switchover` | the parts of the blackout |
| `query_migrate` | the counters of QMP `query-migrate` |
| `xbzrle` | XBZRLE's encoding of a page, its record in the stream, what it costs |
| `xbzrle_cache`, `xbzrle_fluid` | which pages its cache holds: page by page, and as fractions of segments |
| `page_contents` | what a write does to the contents of its page |
| `xbzrle_content`, `xbzrle_overflow` | how long the encoding gets by the writes to a page, and whether it fits |
"""
