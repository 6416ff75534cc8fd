"""Reasons: contributions add up to the margin, and are put in order as a plain loop would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backend import open_backend
from models.bundle import Bundle, load_bundle, write_bundle
from models.policy import Coding
from models.reasons import TOLERANCE, Explained, Reasons
from tests.support.small_model import matrix_of, reference

FEATURES = 7
NAMES = tuple(f"F{i}" for i in range(FEATURES))


def coding(codes: list[int], max_reasons: int) -> Coding:
    names = tuple(f"R{i}" for i in range(4))
    return Coding(names, NAMES, np.array(codes, np.intp), max_reasons)


class Given:
    """A backend with contributions of its own."""

    device = "cpu"

    def __init__(self, contributions: np.ndarray) -> None:
        self._given = contributions.astype(np.float32)

    def margins(self, matrix: np.ndarray) -> np.ndarray:
        raise AssertionError(matrix)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        return self._given[: len(matrix)]


def plain(explained: Explained) -> list[list[dict[str, Any]]]:
    """The reasons of each explained event as they stand on its score."""
    found = []
    reason = feature = 0
    for count in explained.counts.tolist():
        own = []
        for _ in range(count):
            size = int(explained.sizes[reason])
            own.append(
                {
                    "code": explained.code_names[explained.codes[reason]],
                    "contribution": explained.contributions[reason],
                    "features": [
                        (explained.feature_names[explained.features[k]], explained.values[k])
                        for k in range(feature, feature + size)
                    ],
                }
            )
            reason, feature = reason + 1, feature + size
        found.append(own)
    assert reason == len(explained.codes)
    assert feature == len(explained.features) == len(explained.values)
    return found


NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0])


@given(
    contributions=st.lists(
        st.lists(NUMBERS, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=6
    ),
    codes=st.lists(st.integers(0, 3), min_size=FEATURES, max_size=FEATURES),
    max_reasons=st.integers(1, 5),
)
@settings(deadline=None)
def test_codes_and_features_stand_in_the_order_of_a_plain_loop(
    contributions: list[list[float]], codes: list[int], max_reasons: int
) -> None:
    n = len(contributions)
    table = np.array([[*row, 0.5] for row in contributions])
    matrix = np.arange(2.0 * n * FEATURES, dtype=np.float32).reshape(2 * n, FEATURES)
    rows = np.arange(1, 2 * n, 2)
    margins = np.zeros(2 * n, np.float32)
    margins[rows] = table.sum(axis=1)
    explained = Reasons(coding(codes, max_reasons), Given(table)).explain(matrix, margins, rows)
    assert explained.not_additive == 0
    expected = []
    for row, given_row in zip(rows, contributions, strict=True):
        sums = [
            (sum(x for x, own in zip(given_row, codes, strict=True) if own == code), code)
            for code in range(4)
        ]
        raising = sorted([(-by, code) for by, code in sums if by > 0])[:max_reasons]
        expected.append(
            [
                {
                    "code": f"R{code}",
                    "contribution": -by,
                    "features": [
                        (f"F{i}", matrix[row, i])
                        for _, i in sorted(
                            (-x, i) for i, x in enumerate(given_row) if codes[i] == code
                        )
                    ],
                }
                for by, code in raising
            ]
        )
    assert plain(explained) == expected


def test_reasons_of_no_rows_are_empty() -> None:
    reasons = Reasons(coding([0] * FEATURES, 4), Given(np.zeros((1, FEATURES + 1))))
    nothing = np.empty(0, np.intp)
    explained = reasons.explain(matrix_of(3, FEATURES), np.zeros(3, np.float32), nothing)
    assert plain(explained) == []
    assert (explained.not_additive, explained.farthest) == (0, 0.0)


@pytest.mark.parametrize("off", [np.nan, np.inf, 2e-4, -2e-4])
def test_contributions_that_miss_the_margin_are_counted(off: float) -> None:
    table = np.zeros((3, FEATURES + 1))
    table[:, 2] = 1.0
    margins = np.array([1.0, 1.0 + off, 1.00005], np.float32)
    reasons = Reasons(coding([0] * FEATURES, 4), Given(table))
    explained = reasons.explain(matrix_of(3, FEATURES), margins, np.arange(3))
    assert explained.not_additive == 1
    assert not explained.farthest <= TOLERANCE
    assert [len(own) for own in plain(explained)] == [1, 1, 1]


def model_of(folder: Path, seed: int, rounds: int, depth: int, scale: float) -> Bundle:
    """A model of random taste, whose margins reach about ``scale``."""
    random = np.random.default_rng(seed)
    matrix = matrix_of(400, FEATURES, seed)
    labels = (random.normal(size=400) + np.nan_to_num(matrix[:, 0]) > 1).astype(np.int8)
    booster = xgb.train(
        {
            "objective": "binary:logistic",
            "max_depth": depth,
            "eta": scale / rounds,
            "lambda": 0.1,
            "base_score": float(random.uniform(0.001, 0.9)),
            "seed": seed,
            "nthread": 1,
        },
        xgb.DMatrix(matrix, label=labels),
        rounds,
    )
    path = folder / "bundle"
    write_bundle(path, booster, name="r", version="1", features=[reference(n) for n in NAMES])
    return load_bundle(path)


@given(
    seed=st.integers(0, 10_000),
    rounds=st.sampled_from([1, 7, 60]),
    depth=st.integers(1, 8),
    # Up to margins of thousands, where a step of float32 is more than the absolute tolerance.
    scale=st.sampled_from([0.3, 3.0, 10.0, 100.0]),
)
@settings(deadline=None, max_examples=20)
def test_contributions_of_any_model_add_up_to_its_margins(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rounds: int, depth: int, scale: float
) -> None:
    bundle = model_of(tmp_path_factory.mktemp("model"), seed, rounds, depth, scale)
    backend = open_backend(bundle, "cpu", threads=2)
    matrix = matrix_of(200, FEATURES, seed + 1)
    matrix[:5] = np.nan
    margins = backend.margins(matrix)
    contributions = backend.contributions(matrix)
    assert contributions.dtype == np.float32
    assert contributions.shape == (200, FEATURES + 1)
    total = contributions.astype(np.float64).sum(axis=1)
    added = np.abs(contributions).sum(axis=1, dtype=np.float64)
    assert (np.abs(total - margins) <= np.maximum(TOLERANCE, 1e-5 * added)).all()
    reasons = Reasons(coding([0, 1, 2, 3, 0, 1, 2], 4), backend)
    explained = reasons.explain(matrix, margins, np.arange(200))
    assert explained.not_additive == 0
    assert explained.farthest == pytest.approx(np.abs(total - margins).max(), abs=1e-9)


def test_rounding_of_large_margins_is_no_fault_and_a_lost_feature_is(tmp_path: Path) -> None:
    matrix = matrix_of(2_000, FEATURES, 3)
    labels = np.nan_to_num(matrix[:, 0] + matrix[:, 1] * matrix[:, 2]) * 1_000
    params = {"objective": "reg:squarederror", "base_score": 0.0, "seed": 3, "nthread": 1}
    trees = json.loads(xgb.train(params, xgb.DMatrix(matrix, label=labels), 200).save_raw("json"))
    # Margins this large come of a regression only; bundles are of models that give log-odds.
    trees["learner"]["objective"] = {
        "name": "binary:logistic",
        "reg_loss_param": {"scale_pos_weight": "1"},
    }
    trees["learner"]["learner_model_param"]["base_score"] = "5E-1"
    booster = xgb.Booster(model_file=bytearray(json.dumps(trees).encode()))
    path = tmp_path / "bundle"
    write_bundle(path, booster, name="r", version="1", features=[reference(n) for n in NAMES])
    backend = open_backend(load_bundle(path), "cpu", threads=1)
    margins = backend.margins(matrix)
    reasons = Reasons(coding([0, 1, 2, 3, 0, 1, 2], 4), backend)
    every = np.arange(len(matrix))
    explained = reasons.explain(matrix, margins, every)
    assert explained.farthest > TOLERANCE
    assert explained.not_additive == 0
    off = margins * np.float32(1.001)
    assert reasons.explain(matrix, off, every).not_additive > 1_500


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    bundle = model_of(tmp_path_factory.mktemp("model"), 1, 60, 6, 3.0)
    return open_backend(bundle, "cpu", threads=2)


def test_a_row_has_the_same_reasons_alone_and_in_any_batch(backend: Any) -> None:
    matrix = matrix_of(300, FEATURES, 9)
    margins = backend.margins(matrix)
    reasons = Reasons(coding([0, 1, 2, 3, 0, 1, 2], 4), backend)
    rows = np.flatnonzero(margins > np.median(margins))
    together = plain(reasons.explain(matrix, margins, rows))
    assert max(map(len, together)) > 1
    for place in range(0, len(rows), 17):
        (alone,) = plain(reasons.explain(matrix, margins, rows[place : place + 1]))
        # Not a number equals nothing: text does.
        assert str(alone) == str(together[place])


def test_contributions_of_no_rows_are_empty_and_invalid_rows_are_refused(backend: Any) -> None:
    assert backend.contributions(np.empty((0, FEATURES), np.float32)).shape == (0, FEATURES + 1)
    with pytest.raises(ValueError, match="expected a matrix of 7 columns"):
        backend.contributions(np.zeros((2, 3), np.float32))
    infinite = np.zeros((2, FEATURES), np.float32)
    infinite[1, 3] = np.inf
    with pytest.raises(ValueError, match="infinite values in F3"):
        backend.contributions(infinite)


@pytest.mark.gpu
def test_contributions_of_a_gpu_add_up_to_its_margins(tmp_path: Path) -> None:
    bundle = model_of(tmp_path, 1, 60, 6, 3.0)
    on_gpu, on_cpu = open_backend(bundle, "cuda"), open_backend(bundle, "cpu")
    matrix = matrix_of(1_000, FEATURES)
    found = on_gpu.contributions(matrix)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, on_cpu.contributions(matrix), rtol=0, atol=TOLERANCE)
    total = found.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(total, on_gpu.margins(matrix), rtol=0, atol=TOLERANCE)
