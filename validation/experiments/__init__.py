"""Experiments on this machine that show what a term in the tables is made of; none of them is fitted to anything."""
