"""Lookups: values in the online store, by entity key."""
