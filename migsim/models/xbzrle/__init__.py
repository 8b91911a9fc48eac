"""XBZRLE: the cache of pages sent before, and how long a page's difference gets.

- `encoding`: the encoding of a page, its record, what it costs
- `cache`, `fluid_cache`: which pages the cache holds: page by page, and as fractions of segments
- `page_contents`: what a write does to the contents of its page
- `content`, `overflow`: how long the encoding gets by the writes to a page, and whether it fits
"""
