"""Suite ``partitions``: the price of exact windows over several partitions, and the speed of a fill."""
