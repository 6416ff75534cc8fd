"""Sources of writer schemas, the client of a schema registry, and the framing of records."""
