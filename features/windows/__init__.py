"""Windows: exact counts, sums and other aggregates over the recent members of a history."""
