"""The version of migsim; this module imports nothing."""

__all__ = ["__version__"]

__version__ = "0.2.0"
