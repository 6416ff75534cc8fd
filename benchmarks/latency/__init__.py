"""End-to-end latency: from just before an event is sent until a reader of committed records has it.

The player and the watcher are processes of their own, and read the same monotonic clock.
"""
