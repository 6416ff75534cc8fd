"""Train gradient-boosted trees with LightGBM, and write them in ONNX."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from thresholds import round_lightgbm
from training_rows import Rows, run, write_model


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
    trees = convert_lightgbm(round_lightgbm(booster), initial_types=inputs, zipmap=False)
    write_model(out, trees.SerializeToString(), rows, booster.predict)


if __name__ == "__main__":
    run(train, __doc__)
