"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil  # type: ignore[import-untyped]  # it ships no types

from models.backend.threads import available_threads
from tools.embedded import kafka
from tools.embedded.java import find_java

_PACKAGES = ("confluent-kafka", "fastavro", "hiredis", "numpy", "pyarrow", "redis")


def machine(store_version: str, further: Sequence[str] = ()) -> dict[str, Any]:
    """Processor, memory and versions, as plain data.

    store_version: what the store says. further: packages to name besides the common ones.
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": available_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            **{package: version(package) for package in (*_PACKAGES, *_xgboost(), *further)},
            "kafka": kafka.VERSION,
            "java": str(find_java(17).major),
            "store": store_version,
        },
    }


def _xgboost() -> list[str]:
    """The package that XGBoost comes from: there is one for GPUs, and one without."""
    return list(packages_distributions()["xgboost"])


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
