"""Compiled loops over looked-up values."""
