"""Schema registries, and the framing that names a schema in each record."""
