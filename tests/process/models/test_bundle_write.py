"""What is no model of one margin a row, or does not fit its features, is not written at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from base.errors import BundleRefusedError
from models.bundle import load_bundle, write_bundle
from models.training import fit
from tests.support.small_model import NAMES, feature_set, labels_of, matrix_of


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"objective": "multi:softprob", "num_class": 2},
            "the model has 2 classes, 0 to 1, and none is given as the class that is fraud",
        ),
        (
            {"objective": "multi:softprob", "num_class": 101},
            r"it has 101 class\(es\); accepted are",
        ),
        ({"objective": "rank:pairwise"}, "rank:pairwise .* accepted: binary:logistic"),
        ({"objective": "count:poisson"}, "count:poisson"),
        # Newer versions of XGBoost warn of it, from a callback whose warnings cannot be caught.
        (
            {"booster": "gblinear", "tree_method": None, "max_depth": None, "verbosity": 0},
            "its booster is gblinear, accepted: gbtree, dart",
        ),
    ],
)
def test_a_model_without_one_margin_a_row_is_not_written(
    tmp_path: Path, params: dict[str, Any], said: str
) -> None:
    matrix = matrix_of(200, len(NAMES))
    defaults = {"objective": "binary:logistic", "base_score": 0.5}
    chosen = {key: value for key, value in (defaults | params).items() if value is not None}
    model = xgb.train(chosen, xgb.DMatrix(matrix, labels_of(matrix)), 2)
    with pytest.raises(BundleRefusedError, match=said):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_two_targets_is_not_written(tmp_path: Path) -> None:
    matrix = matrix_of(200, len(NAMES))
    labels = labels_of(matrix)
    data = xgb.DMatrix(matrix, np.column_stack([labels, 1 - labels]))
    model = xgb.train({"objective": "reg:squarederror", "base_score": 0.5}, data, 2)
    with pytest.raises(BundleRefusedError, match=r"reg:squarederror with 2 output\(s\)"):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:logistic"])
def test_models_with_one_margin_a_row_are_written(tmp_path: Path, objective: str) -> None:
    matrix = matrix_of(500, len(NAMES))
    model = fit(matrix, labels_of(matrix), rounds=3, threads=1, params={"objective": objective})
    folder = write_bundle(
        tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
    )
    assert load_bundle(folder).objective == objective


def test_a_model_with_its_columns_in_another_order_is_not_written(tmp_path: Path) -> None:
    matrix = matrix_of(200, len(NAMES))
    data = xgb.DMatrix(matrix, labels_of(matrix), feature_names=list(reversed(NAMES)))
    model = xgb.train({"objective": "binary:logistic", "base_score": 0.5}, data, 2)
    with pytest.raises(BundleRefusedError, match="another order"):
        write_bundle(
            tmp_path / "b", model, name="x", version="1", features=feature_set(*NAMES).features
        )


def test_a_bundle_is_never_overwritten(folder: Path, booster: xgb.Booster) -> None:
    with pytest.raises(BundleRefusedError, match="exists already"):
        write_bundle(folder, booster, name="x", version="2", features=feature_set(*NAMES).features)
    assert load_bundle(folder).version == "1"


def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, booster: xgb.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, target: Path) -> Path:
        raise OSError("no room")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no room"):
        write_bundle(
            tmp_path / "b", booster, name="x", version="1", features=feature_set(*NAMES).features
        )
    assert list(tmp_path.iterdir()) == []
