"""The replay: a traced guest's own page numbers through one migration, page by page.

- `replay`: the entry, and what is assumed where the trace is silent
- `writes`, `contents`: which pages the trace's guest writes when, and what that does to their contents
- `memory`: QEMU's bitmap and cursor over real page numbers
- `xbzrle`: the exact cache

The loop, windows and switchover are those of `migsim.engine.events`.
"""
