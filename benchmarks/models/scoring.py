"""Margins, by trees and by events in a micro-batch, beside XGBoost called by hand."""

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
    """µs an event of micro-batches of ``batch`` events.

    worker: of its backend on ``device``. Of XGBoost alone, on the CPU: in_place, its
    ``inplace_predict``; dmatrix, its ``predict`` of a DMatrix that is made for the batch.
    """

    device: str
    trees: int
    batch: int
    worker: float
    in_place: float | None = None
    dmatrix: float | None = None


class XGBoost:
    """XGBoost on the CPU, as somebody would call it who writes the loop by hand."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self._booster = bundle.booster.copy()
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
        """To margins."""
        return {"in_place": self.in_place, "dmatrix": self.dmatrix}


def measure_scoring(
    backend: Backend, trees: int, matrix: Matrix, others: Mapping[str, Predict]
) -> list[Scoring]:
    """One of each number of events, the first rows of the matrix.

    Raises RunError where one of the ``others`` gives other margins.
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
