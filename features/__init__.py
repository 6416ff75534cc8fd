"""Feature definitions and their computation, the same online, in replay and in training."""
