"""XBZRLE: the cache of pages that were sent before, and the encoding of a page's changes.

- `encoding`: the encoding of a page, its record in the stream, and its cost
- `cache`, `fluid_cache`: the pages that the cache holds: exact by page, and as expected fractions of segments
- `page_contents`: what a write does to the contents of its page
- `content`, `overflow`: the length of the encoding by the number of writes to a page, and whether it fits

Which pages are sent, and when, is decided in `migsim.engine`.
"""
