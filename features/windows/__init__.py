"""Windows: counts, sums and the like over the recent members of a history, exact."""
