"""Compiled loops over the histories of one entity."""
