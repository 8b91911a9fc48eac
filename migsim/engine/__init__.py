"""Where time passes: a migration's events in their order, by the laws of `migsim.models`.

- `events`: the reference, SimPy processes, one migration at a time
- `batch`: its readable twin in machine code, thousands of migrations together
- `pages`: a traced guest's own page numbers on the loop of `events`
- `inputs`: what a migration starts from
- `segments`, `sending`, `standstill`, `like_windows`: what the engines share
- `users`: a guest's users, one by one, through a migration that was simulated

Many draws of an uncertain migration are `migsim.study`'s; no engine knows a trace's fit or a profile's file.
"""
