"""The command line, ``migsim``: a module a sub-command, imported when it is called.

- `main`: the root: the table of sub-commands, exit codes, signals
- `question`: the options that every study of a guest shares; `options`: reading other values; `console`: progress
- `predict`, `replay`, `sweep`, `size`, `sensitivity`: studies of a traced guest; `users`: the options about its users
- `compare`: predicted beside measured
- `trace`, `calibrate`, `lab`: tracing a guest, measuring a host, running real migrations

What is asked is computed in `migsim.study`; tables are `migsim.report`'s.
"""
