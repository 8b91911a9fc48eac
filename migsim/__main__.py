"""`python -m migsim` is the same as `migsim`."""

from migsim.cli.main import run

run()
