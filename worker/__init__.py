"""The running process: stations from poll to checkpoint, one loop, and the command line."""
