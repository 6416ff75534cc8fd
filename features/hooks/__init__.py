"""Python features: a user's functions on columns, loaded and contained."""
