"""Real Kafka, Valkey and a schema registry as child processes, for demo, development and tests.

Linux and macOS. Nothing here is needed to run the worker; the packages come with the extra
``embedded``.
"""
