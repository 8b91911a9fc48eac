"""From what was seen to what the model needs: a trace to a workload, probe migrations to a host profile."""
