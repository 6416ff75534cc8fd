"""Folders of a user for caches and data, and locks between processes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE_VARIABLE = "FRAUD_WORKER_CACHE"


def cache_dir() -> Path:
    """Folder ``$FRAUD_WORKER_CACHE``, else the platform's cache folder; created if absent."""
    if given := os.environ.get(CACHE_VARIABLE):
        folder = Path(given).expanduser().absolute()
    else:
        folder = _platform_dir("XDG_CACHE_HOME", ".cache", "Library/Caches")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_dir() -> Path:
    """Folder of the platform for data that outlives a process; created if absent."""
    folder = _platform_dir("XDG_STATE_HOME", ".local/state", "Library/Application Support")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for other processes; the system frees it on death."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _platform_dir(xdg: str, linux: str, macos: str) -> Path:
    default = Path.home() / (macos if sys.platform == "darwin" else linux)
    return Path(os.environ.get(xdg) or default) / "fraud-worker"
