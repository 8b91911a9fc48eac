"""Sweeps: one guest's migration under many settings, as labelled arrays.

- `run`: the entry, `sweep`; `data`: its result, `Sweep`, and the files it is written to
- `axis`: the quantities that vary, read from ``NAME=VALUES``; `guest_ram`: the guest's memory as such an axis
- `plan`: reading and checking a sweep; `layout`: the order of its cells; `cells`: simulating cells
- `piece`: a batch of cells, summarised over the draws; `store`: the folder that keeps finished pieces
- `jobs`: pieces simulated in processes of this machine or on a Dask cluster

The batch engine that simulates many migrations at once is in `migsim.engine.batch`; pictures are in `migsim.plot`.
"""
