"""Measure margins by trees and batch size, and direct calls of XGBoost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import xgboost as xgb

from benchmarks.models.timing import alternate
from benchmarks.programs import RunError
from models.backend.protocol import Backend, Contributions, Margins, Matrix
from models.bundle import Bundle

BATCHES = (1, 10, 100, 1_000, 4_000, 16_000)

Predict = Callable[[Matrix], Margins]


@dataclass(frozen=True, slots=True)
class Scoring:
    """Microseconds per event.

    Attributes:
        device: Device of the worker's backend.
        trees: Number of trees.
        batch: Number of events in the micro-batch.
        worker: Time of the worker's backend.
        in_place: Time of XGBoost's ``inplace_predict`` on the CPU; None if not measured.
        dmatrix: Time to create a DMatrix for the batch and to ``predict`` it on the CPU; None if
            not measured.
    """

    device: str
    trees: int
    batch: int
    worker: float
    in_place: float | None = None
    dmatrix: float | None = None


class XGBoost:
    """Direct calls of XGBoost on the CPU, as in a hand-written loop."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._booster = xgb.Booster(model_file=bundle.path / "model.ubj")
        self._booster.set_param({"nthread": threads})
        self._threads = threads

    def in_place(self, rows: Matrix) -> Margins:
        margins: Margins = self._booster.inplace_predict(
            rows, predict_type="margin", validate_features=False
        )
        return margins

    def dmatrix(self, rows: Matrix) -> Margins:
        data = xgb.DMatrix(rows, nthread=self._threads)
        margins: Margins = self._booster.predict(data, output_margin=True, validate_features=False)
        return margins

    def contributions(self, rows: Matrix) -> Contributions:
        data = xgb.DMatrix(rows, nthread=self._threads)
        values: Contributions = self._booster.predict(
            data, pred_contribs=True, validate_features=False
        )
        return values

    @property
    def methods(self) -> Mapping[str, Predict]:
        """Methods that compute margins, by name."""
        return {"in_place": self.in_place, "dmatrix": self.dmatrix}


def measure_scoring(
    backend: Backend, trees: int, matrix: Matrix, others: Mapping[str, Predict]
) -> list[Scoring]:
    """Measure each batch size, with the first rows of the matrix.

    Raises:
        RunError: One of the ``others`` returns different margins.
    """
    methods = {"worker": backend.margins, **others}
    costs = []
    for batch in BATCHES:
        rows = matrix[:batch]
        for name, method in methods.items():
            if not np.allclose(method(rows), backend.margins(rows), rtol=0, atol=1e-5):
                raise RunError(f"{name} gives other margins than the worker's {backend.device}")
        took = alternate({name: partial(method, rows) for name, method in methods.items()})
        us = {name: seconds.median * 1e6 / batch for name, seconds in took.items()}
        costs.append(Scoring(backend.device, trees, batch, **us))
    return costs
