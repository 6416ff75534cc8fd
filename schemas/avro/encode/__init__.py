"""Avro encoding of records, a batch at a time."""
