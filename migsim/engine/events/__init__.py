"""The event engine, the reference: one migration as SimPy processes.

- `precopy`: the migration thread's loop, from setup to the guest's resume; read it first
- `memory`: the guest's RAM as segments with fluid dirty counts
- `guest_clock`: how far the guest has got
- `xbzrle`, `throttle`, `dirty_limit`, `multifd`: the mechanisms beside plain precopy
- `recorder`: what is written down, and the result made of it

An event is a window, a sync, a throttle step or a part of the switchover, never a page.
"""
