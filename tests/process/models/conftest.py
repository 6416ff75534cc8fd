"""A small model, and the bundle of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.bundle import Bundle, load_bundle, write_bundle
from models.training import fit
from tests.support.small_model import NAMES, labels_of, matrix_of, reference

if TYPE_CHECKING:  # `models` must be first to import it: it says how OpenMP's threads wait
    import xgboost as xgb


@pytest.fixture(scope="session")
def booster() -> xgb.Booster:
    matrix = matrix_of(3_000, len(NAMES))
    return fit(matrix, labels_of(matrix), rounds=20, threads=2)


@pytest.fixture
def folder(tmp_path: Path, booster: xgb.Booster) -> Path:
    return write_bundle(
        tmp_path / "bundle",
        booster,
        name="demo",
        version="1",
        features=[reference(name) for name in NAMES],
    )


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)
