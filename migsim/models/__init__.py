"""The laws of live migration: one mechanism a file, pure functions of numbers and arrays.

- `loop`: what the migration thread does in which order, how it is limited, when it switches over, what is counted
- `dirty`: which pages are dirty: writing, bitmaps, logs, rings, and what a sync costs
- `xbzrle`: encoding, cache and contents
- `throttle`: auto-converge and dirty-limit
- `multifd`: packets and threads
- `guest`: how fast the guest works, and what it loses
- `users`: what the guest's users get done

No clock and no I/O lives here: time passes in `migsim.engine`, which calls these laws.
"""
