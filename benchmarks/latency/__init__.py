"""End-to-end latency: from sending an event until a read-committed consumer has its score.

The player and the watcher are separate processes that read the same monotonic clock.
"""
