"""The replay: a traced guest's own page numbers through one migration, page by page.

- `replay`: the entry, and the assumptions where the trace is silent
- `writes`, `contents`: the pages that the trace's guest writes and when, and what that does to their contents
- `memory`: QEMU's migration bitmap and cursor over real page numbers
- `xbzrle`: pages through the exact cache, whose law is `migsim.models.xbzrle.cache`

The loop, the windows and the switchover are those of `migsim.engine.events`, whose `GuestMemory` this memory replaces.
"""
