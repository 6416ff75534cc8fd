"""Online stores: where lookups are kept."""
