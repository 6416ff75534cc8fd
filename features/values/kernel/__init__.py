"""Compiled loops over texts."""
