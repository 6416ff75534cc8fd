"""``fraud-worker features diff``: differences of two feature sets, and what they need."""
