"""The demo: a simulated card business, played through the worker."""
