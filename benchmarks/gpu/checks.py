"""Checks of the CUDA path. Each returns its figures, or raises CheckError."""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from benchmarks.gpu.material import Material
from benchmarks.gpu.rehearsal import ROOT
from models.backend import cuda, open_backend
from models.reasons import TOLERANCE
from models.sandbox.child import CUDA_TOLERANCE
from models.training.fit import fit

_TESTS_S = 180.0
_PRECISION = 0.05
"""Largest difference of the average precision of two models that are worth the same."""
_EXPLAINED = 4_000


class CheckError(Exception):
    """The CUDA path does other than documented."""


def skipped_tests(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the tests that are skipped where there is no GPU."""
    report = folder / "tests.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
    ]
    command += [f"--junit-xml={report}", "tests/process/models"]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TESTS_S,
    )
    if not report.exists():
        raise CheckError(f"pytest ended with status {ran.returncode}:\n{ran.stdout[-3000:]}")
    suite = ET.parse(report).getroot()[0]  # noqa: S314  pytest wrote it
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    if ran.returncode or counts["skipped"]:
        raise CheckError(f"tests: {counts}\n{ran.stdout[-3000:]}")
    return counts


def margins(material: Material, threads: int) -> dict[str, Any]:
    """Compare margins of both devices, in one batch and in small ones."""
    figures = {}
    matrix = np.ascontiguousarray(material.matrix)
    matrix[0] = np.nan
    for trees, bundle in material.bundles.items():
        on_cpu = open_backend(bundle, "cpu", threads).margins(matrix)
        backend = open_backend(bundle, "cuda", threads)
        on_gpu = backend.margins(matrix)
        parts = [backend.margins(matrix[i : i + 7]) for i in range(0, 700, 7)]
        figures[str(trees)] = {
            "largest_difference": float(np.abs(on_gpu - on_cpu).max()),
            "equal_share": float((on_gpu == on_cpu).mean()),
            "same_in_small_batches": bool((np.concatenate(parts) == on_gpu[:700]).all()),
        }
        if not np.allclose(on_gpu, on_cpu, rtol=CUDA_TOLERANCE, atol=CUDA_TOLERANCE):
            raise CheckError(f"margins of {trees} trees differ: {figures}")
    return figures


def reasons(material: Material, threads: int) -> dict[str, Any]:
    """Compare the contributions of both devices, and their sums with the margins."""
    figures = {}
    matrix = material.matrix[:_EXPLAINED]
    for trees, bundle in list(material.bundles.items())[:-1]:
        backend = open_backend(bundle, "cuda", threads)
        on_gpu = backend.contributions(matrix)
        on_cpu = open_backend(bundle, "cpu", threads).contributions(matrix)
        total = on_gpu.sum(axis=1, dtype=np.float64)
        figures[str(trees)] = {
            "largest_difference": float(np.abs(on_gpu - on_cpu).max()),
            "farthest_sum": float(np.abs(total - backend.margins(matrix)).max()),
        }
        if not max(figures[str(trees)].values()) <= TOLERANCE:
            raise CheckError(f"contributions of {trees} trees differ: {figures}")
    return figures


def training(material: Material, threads: int) -> dict[str, Any]:
    """Train on both devices, and compare the models on events that both have not seen."""
    rounds = next(iter(material.bundles))
    figures: dict[str, Any] = {}
    for name, device in {"cpu": "cpu", "cuda": cuda.DEVICE}.items():
        started = time.monotonic()
        booster = fit(
            material.training,
            material.labels,
            threads=threads,
            rounds=rounds,
            params={"device": device},
        )
        seconds = time.monotonic() - started
        scores = booster.inplace_predict(material.matrix, predict_type="margin")
        precision = float(average_precision_score(material.matrix_labels, scores))
        figures[name] = {"seconds": seconds, "average_precision": precision}
    worse = figures["cpu"]["average_precision"] - figures["cuda"]["average_precision"]
    if abs(worse) > _PRECISION:
        raise CheckError(f"models of the devices are not worth the same: {figures}")
    return figures
