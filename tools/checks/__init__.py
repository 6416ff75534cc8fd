"""Checks of ``fraud-worker check``: one module for each area."""
