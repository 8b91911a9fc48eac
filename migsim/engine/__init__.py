"""Engines: they let time pass in a simulated migration, by the laws of `migsim.models`.

- `events`: the reference, SimPy processes, one migration at a time
- `batch`: its twin in machine code, thousands of migrations at once
- `pages`: a traced guest's own page numbers on the loop of `events`
- `inputs`: what a migration starts from
- `segments`, `sending`, `guest_clock`, `throttling`, `channels`, `standstill`, `ending`, `rounds`: what they share
- `users`: a guest's users, one by one, during a simulated migration

Many draws of an uncertain migration are `migsim.study`'s. No engine reads a trace's fit or a profile's file.
"""
