"""Compiled loop over the trees of a model."""
