"""Computation of features: bind fields, read lookups and histories, fill the matrix."""
