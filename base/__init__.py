"""Errors, YAML documents, array types and helpers that every package may use."""
