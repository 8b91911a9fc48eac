"""The command line: one module per sub-command, and what they share.

- `main`: the root command and exit codes; it imports a sub-command's module when the sub-command is called
- `signals`: how signals end a command
- `predict`, `sweep`, `size`, `sensitivity`, `replay`, `compare`: the studies of `migsim.study`
- `trace`, `calibrate`, `lab`: groups of sub-commands that record, fit, and run real migrations
- `example`: copies files to try migsim with
- `question`: the options that every study shares; `options`: reading of option values; `console`: output;
  `users`: the options about a guest's users

Sub-commands read options, call one function of the package, and print or save its result. Nothing is computed here.
"""
