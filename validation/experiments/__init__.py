"""Experiments on this machine that explain terms and errors in the tables; nothing is fitted to them."""
