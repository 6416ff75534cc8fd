"""Stages of a micro-batch, from decode to encode, as pure functions of their input."""
