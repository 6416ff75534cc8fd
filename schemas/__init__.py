"""Avro schemas, record framing, and decoding and encoding of records as columns."""
