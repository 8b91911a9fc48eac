"""The dirty-ring collector: every page that KVM logs, with its time and vCPU.

- `collector`: the entry
- `tracefs`: KVM's events, read in binary from a tracing instance of our own
- `memory_slots`: from KVM's (slot, offset) to the trace's page numbers
"""
