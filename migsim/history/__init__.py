"""Migration as it was in 2012, and the talk's figures: imported by notebooks, the command line and tests alone.

- `iothread`, `thread_branch`: the laws of the two designs, main loop and migration thread
- `big_lock`, `idle_guest`: who holds the big lock for how long; what an idle Linux guest's memory holds
- `two_trees`: both designs as SimPy processes (`inputs`, `socket_buffer`, `record` belong to it)
- `chart`, `pictures`: the talk's chart, modelled and drawn

What today's releases do is in `migsim.models` and `migsim.engine`; nothing there knows this room.
"""
