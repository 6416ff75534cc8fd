"""Rehearsal: the CPU stands in for the GPU, in this process and its children."""

from __future__ import annotations

import os
from pathlib import Path

from models.backend import cuda

ROOT = Path(__file__).resolve().parents[2]


def stand_in() -> None:
    """Let the CPU compute what is asked of a GPU, through the same code."""
    cuda.DEVICE = "cpu"
    cuda.why_unusable = lambda: None


def environment(folder: Path, *, rehearsal: bool) -> dict[str, str]:
    """Environment of child processes, in which the CPU stands in as well if this is a rehearsal.

    Args:
        folder: Folder for the module that each of their Pythons imports at its start.
        rehearsal: True if there is no GPU.
    """
    paths = [str(ROOT)]
    if rehearsal:
        (folder / "sitecustomize.py").write_text(
            "from benchmarks.gpu.rehearsal import stand_in\n\nstand_in()\n", "utf-8"
        )
        paths.insert(0, str(folder))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
