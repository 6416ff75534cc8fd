"""Errors, YAML documents and helpers that every package may use."""
