"""Column-wise Avro encoding of records."""
