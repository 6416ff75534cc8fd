"""Programs that do the same work as the worker, each in a common style, for comparison.

Each is a separate process, started with a task file. None uses the worker's code.
"""
