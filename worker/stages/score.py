"""Score: feature matrix to margin and score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from models.backend.protocol import Backend
from models.bundle.load import Bundle
from models.calibration import Calibration, logistic


class Model(NamedTuple):
    """The model that gave the scores, and the kind of device that it ran on."""

    name: str
    version: str
    device: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of the events of a micro-batch.

    Attributes:
        margins: float32[N], log-odds.
        scores: float64[N], probabilities.
        matrix: float32[N, F], features that the model saw, in the model's order.
        model: Model that gave the scores.
    """

    margins: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float32]
    model: Model


class Score:
    """Applies one model to the columns that it was trained on, and its calibration to the margin.

    Raises:
        BundleRefusedError: The feature set lacks one of the columns, or defines it otherwise.
    """

    def __init__(self, bundle: Bundle, backend: Backend, feature_set: FeatureSet) -> None:
        self.bundle = bundle
        self.backend = backend
        self.model = Model(bundle.name, bundle.version, backend.device)
        self._columns = bundle.columns_for(feature_set)
        knots = bundle.calibration
        self._calibrate = (
            logistic if knots is None else Calibration(knots.margins, knots.scores).apply
        )

    def __call__(self, enriched: Enriched) -> Scored:
        matrix = enriched.matrix
        if self._columns is not None:
            matrix = np.ascontiguousarray(matrix[:, self._columns])
        margins = self.backend.margins(matrix)
        return Scored(margins, self._calibrate(margins), matrix, self.model)
