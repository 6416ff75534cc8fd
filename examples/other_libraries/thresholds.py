"""Round the thresholds of trees, so that their conversion to ONNX changes no prediction.

LightGBM and scikit-learn's histogram gradient boosting compare x <= threshold with thresholds of 64
bits. ONNX has thresholds of 32 bits, and converters round to the nearest: an event at a threshold
may take the other branch. For every float32 x, x <= threshold is the same as x <= the largest
float32 that is not above the threshold.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt


def round_down(exact: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Round to the largest float32 that is not above, for each number.

    Numbers beyond float32, by which trees separate missing values only, stay as they are.
    """
    with np.errstate(over="ignore"):
        nearest = exact.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(np.isfinite(nearest), np.where(nearest > exact, below, nearest), exact)


def round_lightgbm(booster: Any) -> Any:
    """Return a copy of a booster of LightGBM with rounded thresholds."""

    def rounded(line: re.Match[str]) -> str:
        thresholds = round_down(np.array(line[1].split(), np.float64))
        return "threshold=" + " ".join(f"{value:.17g}" for value in thresholds)

    text = re.sub(r"^threshold=(.*)$", rounded, booster.model_to_string(), flags=re.MULTILINE)
    # It gives the length of each tree's text, which has changed.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return type(booster)(model_str=text)


def round_histogram_boosting(model: Any) -> None:
    """Round the thresholds of a HistGradientBoostingClassifier in place."""
    for trees in model._predictors:  # noqa: SLF001  scikit-learn has no public way to its trees
        for tree in trees:
            tree.nodes["num_threshold"] = round_down(tree.nodes["num_threshold"])
