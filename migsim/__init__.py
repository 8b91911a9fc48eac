"""Predict QEMU/KVM live migrations from traces of the running guest."""

__version__ = "0.1.0"
