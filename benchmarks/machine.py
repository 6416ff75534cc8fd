"""Description of the machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
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
    """Processor, memory and versions, as JSON values.

    Args:
        store_version: Name and version of the store.
        further: Packages to name besides the common ones.
    """
    return {
        **hardware(),
        "versions": {
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            **{
                package: version(package) for package in (*_PACKAGES, *xgboost_packages(), *further)
            },
            "kafka": kafka.VERSION,
            "java": str(find_java(17).major),
            "store": store_version,
        },
    }


def hardware() -> dict[str, Any]:
    """Processor, memory and operating system, as JSON values."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": available_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def xgboost_packages() -> list[str]:
    """Names of the packages that XGBoost is installed from: with or without GPU support."""
    return list(packages_distributions()["xgboost"])


def gpu() -> str | None:
    """Name and driver of the first GPU; None without nvidia-smi."""
    query = "--query-gpu=name,driver_version"
    try:
        told = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.splitlines()[0]


def _processor() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()
