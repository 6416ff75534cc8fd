"""What crosses the wire: Avro schemas, framing, decode and encode, on columns."""
