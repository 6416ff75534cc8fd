"""Avro: types, schema resolution, and decoding and encoding by column."""
