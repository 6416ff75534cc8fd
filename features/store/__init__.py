"""Online stores, which hold lookups, histories and labels."""
