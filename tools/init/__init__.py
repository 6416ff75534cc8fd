"""``fraud-worker init``: a pipeline folder from an Avro schema, with every guess marked as one."""
