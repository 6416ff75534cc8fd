"""``fraud-worker features import-feast``: lookups of what a Feast repository serves online."""
