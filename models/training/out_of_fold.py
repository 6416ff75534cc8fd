"""Events of the earlier folds, scored by models that were not trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.times import DAY
from models.calibration import Calibration
from models.training.calibrate import fit_calibration
from models.training.folds import Fold
from models.training.metrics import brier_score, calibration_error
from models.training.table import LabelledEvents


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """N assessed events of the earlier folds, in order of time, each scored by its fold's model.

    Attributes:
        labels: int8[N], 0/1.
        scores: float64[N], calibrated by a curve that was fitted to all folds.
        cards: int32[N], a number for each card.
        days: int64[N], days since 1970.
        amounts: int64[N], in minor units; None if they are not known.
        calibration_error: Calibration error when each fold is calibrated by the other folds.
        brier: Brier score when each fold is calibrated by the other folds.
    """

    labels: npt.NDArray[np.int8]
    scores: npt.NDArray[np.float64]
    cards: npt.NDArray[np.int32]
    days: npt.NDArray[np.int64]
    amounts: npt.NDArray[np.int64] | None
    calibration_error: float
    brier: float

    @property
    def expected(self) -> float:
        """Expected number of frauds: the sum of the scores."""
        return float(self.scores.sum())


def calibrated(
    events: LabelledEvents, folds: Sequence[Fold], margins: Sequence[npt.NDArray[np.float32]]
) -> tuple[Calibration, OutOfFold]:
    """Fit a calibration curve to all folds, and score their events with it.

    Args:
        events: Events that the rows of the folds refer to.
        folds: The folds.
        margins: float32, margins of each fold's assessed events.
    """
    labels = [fold.labels for fold in folds]
    curve = fit_calibration(np.concatenate(margins), np.concatenate(labels))
    cross_scores = _cross_calibrated(margins, labels)
    rows = np.concatenate([fold.assess for fold in folds])
    order = np.argsort(rows)
    rows, known = rows[order], np.concatenate(labels)
    return curve, OutOfFold(
        known[order],
        curve.apply(np.concatenate(margins)[order]),
        events.cards[rows],
        events.times[rows] // DAY,
        None if events.amounts is None else events.amounts[rows],
        calibration_error(known, cross_scores),
        brier_score(known, cross_scores),
    )


def _cross_calibrated(
    margins: Sequence[npt.NDArray[np.float32]], labels: Sequence[npt.NDArray[np.int8]]
) -> npt.NDArray[np.float64]:
    """Score each fold by a curve of the other folds; a single fold uses its own curve."""
    scores = []
    for place, of_fold in enumerate(margins):
        used = [other for other in range(len(margins)) if other != place] or [place]
        curve = fit_calibration(
            np.concatenate([margins[other] for other in used]),
            np.concatenate([labels[other] for other in used]),
        )
        scores.append(curve.apply(of_fold))
    return np.concatenate(scores)
