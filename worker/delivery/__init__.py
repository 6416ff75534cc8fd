"""Delivery: scores, dead letters and offsets, committed together."""
