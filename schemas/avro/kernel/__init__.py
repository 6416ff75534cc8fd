"""Compiled loops of the decoder."""
