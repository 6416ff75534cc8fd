"""Stream processors that do the same work as the worker, in environments of their own."""
