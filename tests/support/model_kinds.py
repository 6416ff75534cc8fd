"""Small models of every kind that makes a probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost as xgb

from models.bundle import Categories, FeatureRef, write_bundle
from tests.support.small_model import labels_of, matrix_of, reference

COLUMNS: Final = ("amount", "channel", "hour", "country")
CHANNELS: Final = Categories(values=("pos", "ecom", "atm", "moto", "p2p"), other=True)
COUNTRIES: Final = Categories(values=tuple(range(100, 140)), other=False)
_TYPES: Final = ["float", "c", "float", "c"]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        params: Parameters of XGBoost.
        categories: True if it splits by categories.
        fraud_class: Class that is fraud; None for one output.
    """

    params: Mapping[str, Any]
    categories: bool = False
    fraud_class: int | None = None


_DART: Final = {"booster": "dart", "rate_drop": 0.4, "one_drop": 1, "verbosity": 0}
_CLASSES: Final = {"objective": "multi:softprob", "num_class": 4}
KINDS: Final[Mapping[str, Kind]] = {
    "one-hot": Kind({"max_cat_to_onehot": 100}, categories=True),
    "partition": Kind({"max_cat_to_onehot": 1}, categories=True),
    "dart": Kind({**_DART, "base_score": 0.07}),
    "dart by category": Kind({**_DART, "max_cat_to_onehot": 4}, categories=True),
    "forest": Kind({"num_parallel_tree": 20, "eta": 1, "subsample": 0.6, "colsample_bynode": 0.6}),
    "boosted forest": Kind({"num_parallel_tree": 3, "subsample": 0.6}),
    "classes": Kind(_CLASSES, fraud_class=2),
    "softmax": Kind({**_CLASSES, "objective": "multi:softmax"}, fraud_class=0),
    "two classes": Kind({**_CLASSES, "num_class": 2}, fraud_class=1),
    "everything": Kind(
        {**_CLASSES, **_DART, "num_parallel_tree": 2, "subsample": 0.7, "max_cat_to_onehot": 4},
        categories=True,
        fraud_class=3,
    ),
}


def rows_of(rows: int, seed: int = 5) -> np.ndarray:
    """Feature values, float32[rows, 4]; categories are codes, some of them missing."""
    random = np.random.default_rng(seed)
    matrix = matrix_of(rows, len(COLUMNS), seed)
    for column, categories in ((1, CHANNELS), (3, COUNTRIES)):
        codes = random.integers(0, categories.count, rows).astype(np.float32)
        matrix[:, column] = np.where(np.isnan(matrix[:, column]), np.nan, codes)
    return matrix


def train_kind(kind: Kind, rounds: int = 6, seed: int = 5) -> xgb.Booster:
    """Train a model of a kind on codes."""
    matrix = rows_of(1_500, seed)
    codes = np.nan_to_num(matrix[:, [1, 3]], nan=2)
    classes = int(kind.params.get("num_class", 2))
    raised = labels_of(matrix) + (codes[:, 0] % 3 == 1) + (codes[:, 1] % 7 < 3)
    labels = (raised.astype(int) + (seed + np.arange(len(matrix))) % 11 // 9) % classes
    params = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": seed}
    types = _TYPES if kind.categories else None
    data = xgb.DMatrix(matrix, labels, feature_types=types, enable_categorical=True, nthread=1)
    return xgb.train({**params, **kind.params}, data, rounds)


def features_of(kind: Kind) -> list[FeatureRef]:
    """Features of a set whose matrix the kind is trained on."""
    plain = [reference(name) for name in COLUMNS]
    if not kind.categories:
        return plain
    categories = {"channel": CHANNELS, "country": COUNTRIES}
    return [
        feature.model_copy(update={"categories": categories.get(feature.name)}) for feature in plain
    ]


def kind_bundle(folder: Path, kind: Kind, booster: xgb.Booster, **options: Any) -> Path:
    """Write a bundle of a kind."""
    return write_bundle(
        folder,
        booster,
        name="demo",
        version="1",
        features=features_of(kind),
        fraud_class=kind.fraud_class,
        **options,
    )
