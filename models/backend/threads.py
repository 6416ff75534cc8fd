"""Number of threads that this process may use, by its cgroup's CPU quota and its CPU affinity.

XGBoost and OpenMP count the machine's cores. In a container with a quota they would start far too
many threads, and the kernel would throttle them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_threads(
    cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Count the CPUs that this process may use.

    The quotas of this process's cgroups and of all their parents count, in version 2 and version 1.

    Args:
        cgroup_root: Folder where the cgroup file systems are mounted.
        membership: File that lists this process's cgroups, as described in cgroups(7).

    Returns:
        The number of CPUs in the affinity mask, or of whole CPUs in the smallest quota if that is
        smaller; at least 1.
    """
    affinity = hasattr(os, "sched_getaffinity")  # Linux
    cpus = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cpus, *map(math.floor, _quotas(cgroup_root, membership))]))


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """Yield the CPU quota of each cgroup of this process that has one, in CPUs."""
    for folder in _folders(root, membership):
        v2 = _words(folder / "cpu.max")
        v1 = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        for words in (v2, v1):
            try:
                quota, period = (int(word) for word in words)
            except ValueError:  # no such file, no quota, or "max"
                continue
            if quota > 0 and period > 0:
                yield quota / period


def _folders(root: Path, membership: Path) -> Iterator[Path]:
    """Yield the folders of this process's CPU cgroups and of their parents, up to the mounts."""
    for line in _text(membership).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [root] if not controllers else [root / controllers, root / "cpu"]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield mount.joinpath(*parts[:depth])


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
