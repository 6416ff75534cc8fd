"""The process around the loop: health, metrics, logs, outages, exit codes."""
