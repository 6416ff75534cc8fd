"""Module that cannot be imported: the image has no `sklearn`."""

raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
