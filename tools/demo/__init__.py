"""Demo: a simulated card business, played through the worker."""
