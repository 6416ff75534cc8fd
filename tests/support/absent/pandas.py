"""Module that cannot be imported: the image has no `pandas`."""

raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
