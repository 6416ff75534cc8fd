"""Suite ``models``: time for margins, calibration, policy, reasons and swaps."""
