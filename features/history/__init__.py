"""Histories: the recent events of an entity, each named by its position in the log."""
