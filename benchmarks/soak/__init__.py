"""Memory of the worker through ten minutes of full load."""
