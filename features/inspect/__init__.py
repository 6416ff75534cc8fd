"""Explanations, stored histories and feature sets, in a form for people."""
