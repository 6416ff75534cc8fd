"""Python features: load a user's functions on columns, and contain their errors."""
