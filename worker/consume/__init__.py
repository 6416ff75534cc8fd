"""Consumption of the input topic: membership, start offsets, ends of partitions."""
