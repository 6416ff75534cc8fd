"""Readers of event files: Parquet, Avro containers and JSON lines."""
