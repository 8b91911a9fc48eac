"""Where time passes: the SimPy engine. Every law it applies comes from `migsim.models`."""
