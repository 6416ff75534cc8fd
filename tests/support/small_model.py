"""Features, matrices and labels for a small model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.bundle import FeatureRef

NAMES = ("amount", "hour", "avg_amount", "risk")


@dataclass(frozen=True)
class FakeFeatureSet:
    features: Sequence[FeatureRef]


def reference(name: str, definition: str = "") -> FeatureRef:
    digest = hashlib.sha256(f"{name}{definition}".encode()).hexdigest()
    return FeatureRef(name=name, fingerprint=digest)


def feature_set(*names: str) -> FakeFeatureSet:
    return FakeFeatureSet([reference(name) for name in names])


def matrix_of(rows: int, columns: int, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix


def labels_of(matrix: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(6).normal(size=len(matrix))
    labels: np.ndarray = (np.nan_to_num(matrix[:, 0]) + 0.3 * noise > 1.2).astype(np.int8)
    return labels
