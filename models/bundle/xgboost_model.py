"""Models of XGBoost in bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import xgboost as xgb

from base.arrays import Floats32
from models.bundle.categories import check_categories
from models.bundle.golden import score
from models.bundle.manifest import Manifest
from models.bundle.model_checks import check_accepted, check_agree, open_model
from models.bundle.model_file import ModelDocument
from models.bundle.trees import check_trees


@dataclass(frozen=True, slots=True, eq=False)
class XgboostModel:
    """A model of XGBoost, for one thread of a CPU. A backend works on a copy of its own.

    Attributes:
        booster: The model, without names: backends use columns by position.
        missing: Feature value that means missing, besides NaN; NaN if there is none.
        fraud_class: Class whose log-odds are the margin; None for a model with one output.
    """

    FILES: ClassVar = ("model.ubj", "model.json")
    TOLERANCE: ClassVar = 0.0
    """Margins have the same bits on every CPU."""

    booster: xgb.Booster
    missing: float
    fraud_class: int | None = None

    @staticmethod
    def check(content: bytes, manifest: Manifest, where: str) -> None:
        """Refuse a model file that is invalid or does not belong to the manifest."""
        document = ModelDocument(content, where)
        check_accepted(document.facts, where)
        check_agree(document.facts, manifest, where)
        trees = document.trees()
        check_trees(trees, document.facts.columns, where)
        check_categories(trees, manifest, where)

    @classmethod
    def load(cls, content: bytes, manifest: Manifest, where: str) -> Self:
        """Load a model file, which `check` or a child process has accepted."""
        booster = open_model(content, where)
        # The names have been compared with those of the manifest.
        booster.feature_names = None
        return cls(booster, manifest.missing_value, manifest.fraud_class)

    def margins(self, matrix: Floats32) -> Floats32:
        """Compute margins float32[N] of float32[N, F]."""
        return score(self.booster, matrix, self.missing, self.fraud_class)
