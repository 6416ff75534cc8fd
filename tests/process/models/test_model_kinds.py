"""Every kind of model that makes a probability is served with XGBoost's own numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.backend import cuda, open_backend
from models.bundle import Bundle, load_bundle
from models.calibration import logistic
from models.class_margin import class_contributions, class_margin
from models.treeshap import TreeShap
from tests.support.model_kinds import COLUMNS, KINDS, Kind, kind_bundle, rows_of, train_kind

BOOSTERS = {name: train_kind(kind) for name, kind in KINDS.items()}


def bits(margins: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(margins).view(np.uint32)


def class_margins(booster: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    """XGBoost's own margins, float32[N, K], by the function that is not used online."""
    data = xgb.DMatrix(matrix, nthread=1)
    found: np.ndarray = booster.predict(data, output_margin=True, validate_features=False)
    return found.reshape(len(matrix), -1)


def expected_margins(kind: Kind, booster: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    margins = class_margins(booster, matrix)
    return margins[:, 0] if kind.fraud_class is None else class_margin(margins, kind.fraud_class)


def bundle_of(name: str, folder: Path) -> Bundle:
    return load_bundle(kind_bundle(folder / "bundle", KINDS[name], BOOSTERS[name]))


@pytest.mark.parametrize("name", KINDS)
def test_margins_are_those_of_predict_for_every_batch_size_and_thread(
    tmp_path: Path, name: str
) -> None:
    bundle, matrix = bundle_of(name, tmp_path), rows_of(500, seed=8)
    expected = bits(expected_margins(KINDS[name], BOOSTERS[name], matrix))
    for threads, size in ((1, 1), (2, 7), (3, 63), (2, 64), (1, 500)):
        backend = open_backend(bundle, "cpu", threads=threads)
        parts = [backend.margins(matrix[i : i + size]) for i in range(0, len(matrix), size)]
        np.testing.assert_array_equal(bits(np.concatenate(parts)), expected)


@pytest.mark.parametrize("name", KINDS)
def test_the_loop_and_the_tables_serve_every_kind(tmp_path: Path, name: str) -> None:
    backend: Any = open_backend(bundle_of(name, tmp_path), "cpu", threads=1)
    assert backend._compiled_trees is not None
    shaps, biases = backend._shaps
    assert [type(shap) for shap in shaps] == [TreeShap] * len(biases)


@pytest.mark.parametrize("name", KINDS)
def test_contributions_are_those_of_xgboost_and_add_up_to_the_margin(
    tmp_path: Path, name: str
) -> None:
    kind, matrix = KINDS[name], rows_of(300, seed=9)
    matrix[:2] = np.nan
    backend = open_backend(bundle_of(name, tmp_path), "cpu", threads=1)
    contributions = backend.contributions(matrix)
    own = BOOSTERS[name].predict(
        xgb.DMatrix(matrix), pred_contribs=True, strict_shape=True, validate_features=False
    )
    known = own[:, 0] if kind.fraud_class is None else class_contributions(own, kind.fraud_class)
    np.testing.assert_allclose(contributions, known, rtol=0, atol=3e-5)
    margins = backend.margins(matrix)
    np.testing.assert_allclose(contributions.sum(axis=1), margins, rtol=0, atol=1e-4)
    assert len(np.unique(bits(contributions[:, -1]))) == 1
    parts = np.concatenate([backend.contributions(matrix[i : i + 3]) for i in range(0, 300, 3)])
    np.testing.assert_array_equal(bits(parts), bits(contributions))


@pytest.mark.parametrize("name", ["everything", "partition", "classes"])
def test_a_gpu_gives_the_margins_and_contributions_of_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The CPU stands in for the GPU."""
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "why_unusable", lambda: None)
    bundle, matrix = bundle_of(name, tmp_path), rows_of(200, seed=3)
    gpu, cpu = open_backend(bundle, "cuda", threads=1), open_backend(bundle, "cpu", threads=1)
    np.testing.assert_array_equal(bits(gpu.margins(matrix)), bits(cpu.margins(matrix)))
    found, known = gpu.contributions(matrix), cpu.contributions(matrix)
    np.testing.assert_allclose(found, known, rtol=0, atol=3e-5)


@pytest.mark.parametrize("name", ["one-hot", "partition", "everything"])
def test_values_that_are_no_category_of_the_model_go_where_xgboost_sends_them(
    tmp_path: Path, name: str
) -> None:
    odd = [-1, -0.5, -0.0, 0.5, 1.999, 6, 39.5, 40, 63, 64, 1e3, 2**24 - 1, 2**24, 1e9, 3e38]
    matrix = rows_of(len(odd) * 8, seed=4)
    matrix[:, 1] = np.tile(odd, 8)
    matrix[:, 3] = np.repeat(odd, 8)[::-1]
    bundle = bundle_of(name, tmp_path)
    backend = open_backend(bundle, "cpu", threads=1)
    expected = bits(expected_margins(KINDS[name], BOOSTERS[name], matrix))
    np.testing.assert_array_equal(bits(backend.margins(matrix)), expected)
    alone = np.concatenate([backend.margins(row[None]) for row in matrix])
    np.testing.assert_array_equal(bits(alone), expected)
    sums = backend.contributions(matrix).sum(axis=1)
    np.testing.assert_allclose(sums, backend.margins(matrix), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["classes", "softmax", "two classes", "everything"])
def test_the_score_of_a_class_is_its_probability(tmp_path: Path, name: str) -> None:
    kind, matrix = KINDS[name], rows_of(400, seed=7)
    margins = open_backend(bundle_of(name, tmp_path), "cpu", threads=1).margins(matrix)
    each = np.exp(class_margins(BOOSTERS[name], matrix).astype(np.float64))
    expected = each[:, kind.fraud_class] / each.sum(axis=1)
    np.testing.assert_allclose(logistic(margins), expected, rtol=3e-7)


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=9), st.integers(0, 8))
def test_the_margin_of_a_class_is_the_log_odds_of_the_softmax(
    margins: list[float], place: int
) -> None:
    fraud_class = place % len(margins)
    others = [margin for at, margin in enumerate(margins) if at != fraud_class]
    largest = max(others)
    sum_of_others = math.fsum(math.exp(margin - largest) for margin in others)
    expected = margins[fraud_class] - (largest + math.log(sum_of_others))
    (found,) = class_margin(np.array([margins], np.float32), fraud_class)
    assert abs(float(found) - expected) <= 1e-12 + abs(np.spacing(np.float32(expected)))


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 5), st.floats(0.1, 6))
def test_contributions_of_classes_combine_to_the_margin(
    seed: int, classes: int, columns: int, size: float
) -> None:
    random = np.random.default_rng(seed)
    given = random.normal(0, size, (20, classes, columns + 1)).astype(np.float32)
    given[:, :, -1] = given[0, :, -1]
    combined = class_contributions(given, 1).astype(np.float64)
    margins = class_margin(given.astype(np.float64).sum(axis=2).astype(np.float32), 1)
    np.testing.assert_allclose(combined.sum(axis=1), margins, rtol=3e-6, atol=3e-5 * size)
    shifted = given + random.normal(0, 1, (20, 1, columns + 1)).astype(np.float32)
    shifted[:, :, -1] = given[:, :, -1]
    same = class_contributions(shifted, 1)[:, :-1]
    np.testing.assert_allclose(same, combined[:, :-1], rtol=1e-4, atol=1e-4 * size)


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    """A kind of model with any combination of its features."""
    params: dict[str, Any] = {"subsample": 0.7, "max_depth": draw(st.integers(1, 7))}
    params["num_parallel_tree"] = draw(st.sampled_from([1, 3]))
    if draw(st.booleans()):
        params |= {"booster": "dart", "rate_drop": 0.5, "verbosity": 0}
    categories = draw(st.booleans())
    if categories:
        params["max_cat_to_onehot"] = draw(st.sampled_from([1, 10, 100]))
    classes = draw(st.sampled_from([0, 2, 3, 5]))
    if not classes:
        return Kind(params, categories)
    params |= {"objective": "multi:softprob", "num_class": classes}
    return Kind(params, categories, draw(st.integers(0, classes - 1)))


@given(kind=kinds(), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_random_models_of_every_kind_have_the_numbers_of_xgboost(
    tmp_path_factory: pytest.TempPathFactory, kind: Kind, seed: int
) -> None:
    booster = train_kind(kind, rounds=4, seed=seed)
    folder = tmp_path_factory.mktemp("kind")
    bundle = load_bundle(kind_bundle(folder / "bundle", kind, booster, golden=rows_of(40, seed)))
    backend = open_backend(bundle, "cpu", threads=1)
    matrix = rows_of(90, seed + 1)
    expected = bits(expected_margins(kind, booster, matrix))
    np.testing.assert_array_equal(bits(backend.margins(matrix)), expected)
    few = np.concatenate([backend.margins(matrix[:3]), backend.margins(matrix[3:4])])
    np.testing.assert_array_equal(bits(few), expected[:4])
    own = booster.predict(xgb.DMatrix(matrix), pred_contribs=True, strict_shape=True)
    known = own[:, 0] if kind.fraud_class is None else class_contributions(own, kind.fraud_class)
    contributions = backend.contributions(matrix)
    np.testing.assert_allclose(contributions, known, rtol=1e-5, atol=5e-5)
    assert contributions.shape == (90, len(COLUMNS) + 1)
