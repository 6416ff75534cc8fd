"""Folder of compiled kernels, and the processor that they are compiled for."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from base.user_folders import cache_dir

_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
"""Features of the target x86-64-v3; all processors for servers since 2015 have them."""


def cpu_name() -> str:
    """Name of the processor that kernels are compiled for.

    A common one, so that what was compiled in an image serves on all machines that run it.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "generic"
    from llvmlite import binding  # noqa: PLC0415 - loads LLVM, which other machines need later only

    features = binding.get_host_cpu_features()
    return "x86-64-v3" if all(features.get(name) for name in _V3) else "generic"


def kernel_sources() -> list[Path]:
    """Files that kernels are compiled from: the folders ``kernel``, and what they import."""
    root = Path(__file__).parents[1]
    kernels = (
        path for name in ("schemas", "features") for path in root.glob(f"{name}/**/kernel/*")
    )
    return [root / "base" / "compiled.py", *sorted(p for p in kernels if p.suffix == ".py")]


def kernel_folder(cpu: str) -> Path | None:
    """Folder for kernels compiled for ``cpu``; None if there is no place that is safe to use.

    Its files are pickles, so that nobody else may write there; root may, as in an image. Its name
    is a digest of all that the compiled code depends on: numba itself compares the file of a
    function alone, and goes on to use old code if a function that it calls changes elsewhere.
    """
    digest = hashlib.sha256(f"{sys.version} {platform.machine()} {cpu}".encode())
    for package in ("llvmlite", "numba", "numpy"):
        digest.update(f" {package} {version(package)}".encode())
    for path in kernel_sources():
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    try:
        folder = cache_dir() / f"kernels-{digest.hexdigest()[:16]}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    safe = status.st_uid in {0, os.geteuid()} and not status.st_mode & 0o022
    return folder if safe else None
