"""What a ranking by score is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def average_precision(labels: npt.NDArray[Any], scores: npt.NDArray[np.float64]) -> float:
    """Area under the precision-recall curve, as steps (scikit-learn's average_precision_score).

    `labels` 0/1 [N], `scores` [N], higher is more suspicious. NaN when no label is 1. Needs the
    extra `train`.
    """
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  only training needs it

    if not np.any(labels):
        return float("nan")
    return float(average_precision_score(labels, scores))
