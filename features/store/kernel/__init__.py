"""Compiled loops over the requests and answers of a server."""
