"""Comparison of two workers on one input topic, champion and challenger, event by event."""
