"""Benchmarks of the worker against other programs that do the same work."""
