"""Avro: types, schema resolution, and column-wise decoding and encoding."""
