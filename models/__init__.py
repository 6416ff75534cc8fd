"""Model bundles, backends and policies, which turn features into decisions."""

from __future__ import annotations

import os

# XGBoost's OpenMP threads spin for milliseconds after every call, and take the cores of all other
# threads on the machine. Measured on two busy cores, with one row every 5 ms and two threads: a call
# takes 10 ms of CPU and 10 ms in the median; with passive waiting, 0.7 ms of both. OpenMP reads this
# variable when XGBoost is first imported, which only this package does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
