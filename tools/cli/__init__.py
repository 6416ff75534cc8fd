"""The commands of ``fraud-worker``, one module each."""
