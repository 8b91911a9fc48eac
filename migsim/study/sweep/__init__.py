"""One guest's migration under many settings, as labelled arrays.

- `run`: the entry, `sweep`
- `axis`: what varies, read from ``NAME=VALUES``; `guest_ram`: the guest's memory as an axis
- `plan`: what all cells share; `layout`: where the cells lie; `cells`: simulating them
- `piece`, `store`: cells worked on together, and the folder that keeps them
- `jobs`: pieces in processes of this machine or on a Dask cluster
- `data`: the result, `Sweep`, and its files
"""
