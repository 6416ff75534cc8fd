"""The suite ``models``: what margins, calibration, policy, reasons and swaps cost."""
