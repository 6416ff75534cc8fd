"""Evaluation of models against published results: trained on built tables, scored by the worker."""
