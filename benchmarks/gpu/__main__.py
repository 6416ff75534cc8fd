"""Prove the CUDA path on this machine's GPU: ``python -m benchmarks.gpu [--json] [--record]``.

It runs the tests that need a GPU, compares margins, reasons and training with the CPU's, loses the
GPU on purpose, and measures both devices. It needs no network, broker or store. Progress and tables
go to stderr, the result to stdout as a line of JSON.

Exit status: 0 if all checks passed, 1 if not, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xgboost as xgb

from benchmarks.gpu import checks, commands
from benchmarks.gpu.material import SMALL, Size, make_material
from benchmarks.gpu.rates import measure
from benchmarks.gpu.rehearsal import environment, stand_in
from benchmarks.gpu.table import show
from benchmarks.machine import gpu, hardware, xgboost_packages
from benchmarks.options import RESULTS, UNRECORDED
from benchmarks.result import today, write_result
from benchmarks.testbed import note
from models.backend import available_threads
from models.backend.cuda import why_unusable

_LIMIT_S = 240.0
"""Seconds after which no further rates are measured; to install takes up to two minutes."""


def main(arguments: list[str] | None = None) -> int:
    """Run all checks and measurements, and print the result."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as a line of JSON")
    parser.add_argument(
        "--record", action="store_true", help="write the result file to benchmarks/results"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="let the CPU stand in for the GPU, on few events"
    )
    given = parser.parse_args(arguments)
    if not given.rehearse and (reason := why_unusable()):
        print(f"error: no CUDA device: make gpu {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fraud-worker-gpu.") as folder:
        result = prove(Path(folder), rehearsal=given.rehearse)
    show(result)
    write_result(RESULTS if given.record and not given.rehearse else UNRECORDED, result)
    for name, failure in result["failures"].items():
        note(f"FAILED: {name}: {failure}")
    if given.json:
        print(json.dumps(result))
    return 1 if result["failures"] else 0


def prove(folder: Path, *, rehearsal: bool) -> dict[str, Any]:
    """Run all checks and measurements, each even if one before it failed.

    Args:
        folder: Folder for files of the run.
        rehearsal: True to let the CPU stand in for the GPU.
    """
    started, threads, without = (
        time.monotonic(),
        available_threads(),
        environment(folder, rehearsal=False),
    )
    if rehearsal:
        stand_in()
    result: dict[str, Any] = {
        "suite": "gpu",
        "date": today(),
        "rehearsal": rehearsal,
        "gpu": gpu(),
        "machine": {**hardware(), "versions": _versions()},
        "threads": threads,
        "failures": {},
    }
    material = make_material(folder, SMALL if rehearsal else Size(), threads)
    children = environment(folder, rehearsal=rehearsal)
    score = commands.Command(material, children)
    faults = ("rehearsal",) if rehearsal else ("kernel", "memory")
    until = math.inf if rehearsal else started + _LIMIT_S
    steps: dict[str, Callable[[], object]] = {
        "margins": lambda: checks.margins(material, threads),
        "reasons": lambda: checks.reasons(material, threads),
        "training": lambda: checks.training(material, threads),
        "scores": lambda: commands.scores(score),
        "loss": lambda: commands.loss(score, faults, without),
        "tests": lambda: checks.skipped_tests(folder, children),
        "margins_by_batch": lambda: measure(material, threads, "margins", until),
        "contributions_by_batch": lambda: measure(material, threads, "contributions", until),
    }
    for name, step in steps.items():
        note(f"{time.monotonic() - started:5.0f} s  {name.replace('_', ' ')} …")
        try:
            result[name] = step()
        except Exception as error:  # noqa: BLE001  the other steps are of use whatever this one raises
            result["failures"][name] = f"{type(error).__name__}: {error}"
            note(f"FAILED: {result['failures'][name]}")
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def _versions() -> dict[str, str]:
    packages = ("numpy", *xgboost_packages())
    cuda = xgb.build_info().get("CUDA_VERSION", [])
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "cuda": ".".join(map(str, cuda)),
    }


if __name__ == "__main__":
    sys.exit(main())
