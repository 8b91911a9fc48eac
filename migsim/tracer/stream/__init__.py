"""The stream collector: the destination of a migration that never ends, which reads the pages that it is sent.

- `collector`: the entry; `source`: the migration that is started, steered, and undone
- `reader`, `buffer`: from the socket to the parser
- `format`: the stream's framing; `ram`, `rows`: page records; `sink`: what they tell
- `rounds`: sections cut into rounds; `pacing`: how long rounds are to be
- `recording`: rounds into a trace
"""
