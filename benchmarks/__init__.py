"""Benchmarks: the bare limit of a machine, and how near the server comes to it."""
