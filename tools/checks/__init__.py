"""``fraud-worker check``: what can be proved before the start, one module for each area."""
