"""The dirty-ring collector: every page that KVM logs as dirty, with its time and vCPU.

- `collector`: the collector itself; keeps a dirty-rate measurement running, and cuts the events into intervals
- `tracefs`: reads KVM's dirty-ring events in binary from a tracing instance of its own
- `memory_slots`: turns KVM's (slot, offset) into the trace's page numbers

The interface of a collector is defined in `migsim.tracer.base`.
"""
