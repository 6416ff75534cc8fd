"""Commands that people run beside the worker."""
