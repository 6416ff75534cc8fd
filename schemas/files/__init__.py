"""Files of records: JSON lines, CSV, Parquet and Avro containers."""
