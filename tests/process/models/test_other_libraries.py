"""Models of other libraries give their own predictions through the worker's scoring stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pytest
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as LightgbmFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from base.errors import BundleRefusedError
from models.backend import open_backend
from models.bundle import load_bundle
from models.bundle.pack_onnx import SampleRows, pack_onnx
from models.bundle.packed import Names
from models.calibration import logistic
from tests.support.examples import load_example
from tests.support.small_model import FakeFeatureSet, reference
from worker.stages.serving import Score

EVENTS, TRAINED, COLUMNS = 10_000, 2_000, 12
NAMES = [f"f{column}" for column in range(COLUMNS)]
Matrix = npt.NDArray[np.float32]
Predict = Callable[[Matrix], npt.NDArray[np.float64]]


def events() -> Matrix:
    """Amounts with two digits, counts, and shares; one value in twenty is missing."""
    random = np.random.default_rng(8)
    matrix = random.lognormal(2.0, 1.0, (EVENTS, COLUMNS)).round(2)
    matrix[:, 4:8] = random.integers(0, 60, (EVENTS, 4))
    matrix[:, 8:] = random.beta(0.5, 8.0, (EVENTS, COLUMNS - 8))
    matrix[random.random(matrix.shape) < 0.05] = np.nan
    return matrix.astype(np.float32)


def frauds(matrix: Matrix) -> npt.NDArray[np.int8]:
    known = np.nan_to_num(matrix)
    risk = known[:, 0] / 10 + known[:, 4] / 30 + 4 * known[:, 8] + known[:, 1] * known[:, 9]
    noise = np.random.default_rng(9).normal(0, 0.5, len(matrix))
    return (risk + noise > 3.0).astype(np.int8)


MATRIX = events()
TRAINING, LABELS = MATRIX[:TRAINED], frauds(MATRIX)[:TRAINED]

SCIKIT_LEARN = {
    "random forest": make_pipeline(
        SimpleImputer(), RandomForestClassifier(100, max_depth=8, random_state=0)
    ),
    "gradient boosting": make_pipeline(
        SimpleImputer(), GradientBoostingClassifier(n_estimators=50, random_state=0)
    ),
    "histogram gradient boosting": HistGradientBoostingClassifier(max_iter=60, random_state=0),
    "logistic regression": make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression()
    ),
    "neural network": make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        MLPClassifier((16, 8), max_iter=30, random_state=0),
    ),
}


def scores(
    folder: Path, content: bytes, expected: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Scores of all events by a worker's scoring stage, with the model packed as a user does."""
    (folder / "m.onnx").write_bytes(content)
    features = [reference(name) for name in NAMES]
    pack_onnx(
        folder / "m.onnx",
        folder / "bundle",
        name="other",
        version="1",
        names=Names(NAMES),
        definitions=features,
        kind="probability",
        sample=SampleRows(MATRIX, expected),
    )
    bundle = load_bundle(folder / "bundle")
    feature_set: Any = FakeFeatureSet(features)
    enriched: Any = SimpleNamespace(matrix=MATRIX)
    score = Score(bundle, open_backend(bundle, "cpu", threads=2), feature_set)
    return score(enriched).scores


def fitted(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of networks that are trained for a moment only
        return model.fit(TRAINING, LABELS)


def converted(model: Any) -> bytes:
    inputs = [("features", FloatTensorType([None, COLUMNS]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx hands numpy's booleans to protobuf
        network = to_onnx(model, initial_types=inputs, options={"zipmap": False})
    content: bytes = network.SerializeToString()
    return content


@pytest.mark.parametrize("name", SCIKIT_LEARN)
def test_scikit_learn(tmp_path: Path, name: str) -> None:
    model = fitted(SCIKIT_LEARN[name])
    expected = model.predict_proba(MATRIX)[:, 1]
    if name.startswith("histogram"):
        load_example("other_libraries/thresholds.py").round_histogram_boosting(model)
    found = scores(tmp_path, converted(model), expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(np.unique(found)) > 100


def test_what_a_converter_drops_is_found_by_the_expected_scores(tmp_path: Path) -> None:
    """skl2onnx 1.20 knows nothing of missing values in the trees of a forest."""
    model = fitted(RandomForestClassifier(20, max_depth=6, random_state=0))
    expected = model.predict_proba(MATRIX)[:, 1]
    with pytest.raises(BundleRefusedError, match="differs from --expected by more than 1e-05 on"):
        scores(tmp_path, converted(model), expected)


def boosted() -> lgb.Booster:
    params = {"objective": "binary", "num_leaves": 15, "verbose": -1, "seed": 0, "num_threads": 1}
    return lgb.train(params, lgb.Dataset(TRAINING, LABELS), num_boost_round=100)


def at_thresholds(booster: lgb.Booster) -> Matrix:
    """Events of which each has a feature at a threshold of a tree, as float32."""
    splits = booster.trees_to_dataframe().query("threshold < 1e30")
    columns = splits["split_feature"].str.removeprefix("Column_").astype(int).to_numpy()
    chosen = MATRIX[np.arange(len(splits)) % EVENTS].copy()
    chosen[np.arange(len(splits)), columns] = splits["threshold"].to_numpy(np.float32)
    return chosen


def test_lightgbm(tmp_path: Path) -> None:
    booster = boosted()
    inputs = [("features", LightgbmFloats([None, COLUMNS]))]
    rounded = load_example("other_libraries/thresholds.py").round_lightgbm(booster)
    content = convert_lightgbm(rounded, initial_types=inputs, zipmap=False)
    expected: Any = booster.predict(MATRIX)
    found = scores(tmp_path, content.SerializeToString(), expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(np.unique(found)) > 100
    edge = at_thresholds(booster)
    margins = open_backend(load_bundle(tmp_path / "bundle"), "cpu").margins(edge)
    np.testing.assert_allclose(logistic(margins), booster.predict(edge), rtol=0, atol=1e-5)
    # Without it, events at a threshold take the other branch.
    plain = convert_lightgbm(booster, initial_types=inputs, zipmap=False)
    (tmp_path / "plain").mkdir()
    scores(tmp_path / "plain", plain.SerializeToString())
    margins = open_backend(load_bundle(tmp_path / "plain" / "bundle"), "cpu").margins(edge)
    assert (np.abs(logistic(margins) - booster.predict(edge)) > 1e-3).any()
