"""The batch engine: the event engine's loop for thousands of migrations, compiled by numba.

- `grid`: the entry, for many inputs, or for one input with values that vary
- `columns`, `cells`, `layout`: inputs gathered into records of numbers, and the guest's RAM laid out
- `loop`: one migration, in the order of `migsim.engine.events.precopy`; read it first
- `windows`, `sending`, `left`, `memory`, `clock`, `cache`, `xbzrle`, `multifd`, `verdict`, `end`: its parts
- `one`: one drawn migration, with its rounds
- `records`, `ram`: the records that the loop reads and writes; `compile`, `run`: how it is compiled and run
- `result`: a batch's figures

It is the twin of `migsim.engine.events`, and each module that has a counterpart there names it. The two engines share

- every law of `migsim.models`: the same functions, which numba compiles as they stand (`compile.LAWS`);
- what changes a few fields of a record and takes no time: the guest's clock, the throttle's timer and its settled
  speed, what multifd's channels count, XBZRLE's sums, how a standstill is recognised and carried on, how extents are
  cut (`migsim.engine.guest_clock`, `throttling`, `channels`, `sending`, `standstill`, `ending`, `segments`). These
  functions take any object with the named fields: an object of the event engine, or a record.

Written twice is the order of things, because the event engine waits in it and the compiled loop does not: the loop
itself, the end of a window, a bitmap sync, the completion. Written twice, too, is what walks over segments: the event
engine uses lists and NumPy arrays, this one looks at blocks of segments and at parts, which is many times as fast.
`tests/engine/batch/test_batch.py` holds the two engines to each other: every figure of random migrations agrees within
0.1 %, with expected and with drawn dirty counts, for plain precopy, auto-converge, XBZRLE and multifd.
"""
