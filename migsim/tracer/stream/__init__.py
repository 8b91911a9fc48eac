"""The stream collector: the destination of a migration that is never completed, which reads the pages sent to it.

- `collector`: the collector itself; `source`: starting, steering and cancelling the migration through QMP
- `reader`, `buffer`: from the socket to the parser
- `format`: parses the stream's framing; `ram`: parses its block table and page records; `record_runs`: finds
  runs of equal records for it, fast; `bitmap_section`: reads over dirty bitmaps; `sink`: receives the parsed pages
- `hold_node`: keeps QEMU before 8.0 from switching over, by a dirty bitmap
- `rounds`: cuts the arriving sections into rounds; `pacing`: gives the rounds the requested lengths
- `recording`: writes the rounds to the trace
"""
