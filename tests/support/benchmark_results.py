"""The machine that made-up results of benchmarks name."""

from __future__ import annotations

from typing import Any

MACHINE: dict[str, Any] = {
    "processor": "P",
    "usable_cores": 2,
    "memory_gib": 1.0,
    "system": "S",
    "versions": {"python": "3"},
}
