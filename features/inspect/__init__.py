"""Human-readable explanations, stored histories and feature sets."""
