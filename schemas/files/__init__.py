"""Readers of event files: JSON lines, Parquet and Avro containers."""
