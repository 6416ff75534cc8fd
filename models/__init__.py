"""Model bundles, backends and policies, which turn features into decisions."""

from __future__ import annotations

import os

# XGBoost's OpenMP threads spin for milliseconds after every call, and take the cores of everything
# else on the machine. Measured on two busy cores, one row every 5 ms, two threads: 10 ms of CPU and
# a median of 10 ms a call; waiting passively 0.7 ms of both. OpenMP reads this when it is loaded,
# that is when XGBoost is first imported, which only this package does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
