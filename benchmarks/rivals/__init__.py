"""Other programs that do the worker's work, each as one would write it, to be measured beside it.

Each is a process of its own, started with the file of its task. None uses the worker's code.
"""
