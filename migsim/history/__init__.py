"""Migration as QEMU did it in 2012, and the chart of idle guests from the talk of May 2013.

- `iothread`, `thread_branch`: laws of the two designs, migration in the main loop and in a thread of its own
- `big_lock`: how late I/O and timers come because of holds of the big lock
- `idle_guest`: what the memory of an idle Linux guest holds
- `two_trees`: both designs as SimPy processes; `inputs`, `record` and `socket_buffer` belong to it
- `idle_chart`, `pictures`: both designs simulated for guests of several sizes, as a table and as pictures

What today's releases do is in `migsim.models` and `migsim.engine`; they do not import this room.
"""
