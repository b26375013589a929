"""Benchmarks of the package, as its users would run it. Stored results are in `benchmarks/results`."""
