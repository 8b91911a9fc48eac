"""The event engine, the reference: one migration as SimPy processes.

- `precopy`: the migration thread's loop, from setup to the guest's resume; read it first
- `memory`: the guest's RAM as segments with expected or drawn dirty counts
- `xbzrle`, `throttle`, `dirty_limit`, `multifd`: the mechanisms beside plain precopy
- `repeated_windows`: windows that are alike, gone through in one event
- `repeated_windows`: windows that are alike, simulated in one event
- `recorder`: what is noted while a migration runs, and the `MigrationResult` made from it

An event is an iterate call, a bitmap sync, a sleep or a step of the switchover, never a page. A guest page by page is
`migsim.engine.pages`, thousands of migrations at once are `migsim.engine.batch`.
"""
