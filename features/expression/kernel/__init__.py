"""Compiled loops of expressions."""
