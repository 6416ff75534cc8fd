"""Train gradient-boosted trees with LightGBM, and write them in ONNX.

LightGBM compares features with thresholds of 64 bits, and ONNX has thresholds of 32 bits, which the
converter rounds to the nearest. An event at a threshold could then take the other branch. With
thresholds that are rounded down before, no float32 does.
"""

from __future__ import annotations

import re
from pathlib import Path

import lightgbm as lgb
import numpy as np
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from training_rows import Rows, run, write_model


def round_thresholds(booster: lgb.Booster) -> lgb.Booster:
    """Round all thresholds down to float32; x <= threshold stays the same for every float32 x."""

    def rounded(line: re.Match[str]) -> str:
        exact = np.array(line[1].split(), np.float64)
        nearest = exact.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
        down = np.where(nearest > exact, below, nearest).astype(np.float64)
        return "threshold=" + " ".join(f"{value:.17g}" for value in down)

    text = re.sub(r"^threshold=(.*)$", rounded, booster.model_to_string(), flags=re.MULTILINE)
    # It gives the length of each tree's text, which has changed.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return lgb.Booster(model_str=text)


def train(rows: Rows, out: Path) -> None:
    """Train on rows, and write the trees to a folder."""
    params = {
        "objective": "binary",
        "learning_rate": 0.05,
        "min_data_in_leaf": 200,
        "seed": 0,
        "deterministic": True,
        "verbose": -1,
    }
    booster = lgb.train(params, lgb.Dataset(rows.matrix, rows.labels), num_boost_round=200)
    inputs = [("features", FloatTensorType([None, len(rows.names)]))]
    trees = convert_lightgbm(round_thresholds(booster), initial_types=inputs, zipmap=False)
    write_model(out, trees.SerializeToString(), rows, booster.predict)


if __name__ == "__main__":
    run(train, __doc__)
