"""Values of columns: conversions, and keyed 64-bit hashes."""
