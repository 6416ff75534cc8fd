"""A model learns, the same from the same seed, and refuses what it cannot learn from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.calibration import logistic
from models.training import average_precision, fit
from tests.support.small_model import NAMES, labels_of, matrix_of


def test_a_model_ranks_what_it_has_not_seen() -> None:
    train, test = matrix_of(4_000, len(NAMES), seed=1), matrix_of(2_000, len(NAMES), seed=2)
    model = fit(train, labels_of(train), rounds=20, threads=2)
    scores = logistic(model.inplace_predict(test, predict_type="margin"))
    labels = labels_of(test)
    assert labels.mean() < 0.15
    assert average_precision(labels, scores) > 0.8


def test_the_same_seed_gives_the_same_model_to_the_bit() -> None:
    matrix = matrix_of(1_000, len(NAMES))
    params = {"subsample": 0.7}
    first, again, other = (
        fit(matrix, labels_of(matrix), rounds=5, threads=2, seed=seed, params=params)
        for seed in (1, 1, 2)
    )
    assert first.save_raw("ubj") == again.save_raw("ubj")
    assert first.save_raw("ubj") != other.save_raw("ubj")


def test_the_base_score_is_given_and_not_fitted() -> None:
    matrix = matrix_of(500, len(NAMES))
    model = fit(matrix, labels_of(matrix), rounds=2, threads=1)
    base = json.loads(model.save_config())["learner"]["learner_model_param"]["base_score"]
    assert float(base.strip("[]")) == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_are_refused(label: int) -> None:
    matrix = matrix_of(50, len(NAMES))
    with pytest.raises(ValueError, match="needs both classes"):
        fit(matrix, np.full(50, label), rounds=2, threads=1)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        fit(matrix_of(50, 2), np.zeros(49), rounds=2, threads=1)


def test_infinite_values_are_refused() -> None:
    matrix = matrix_of(50, len(NAMES))
    labels = labels_of(matrix)
    matrix[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        fit(matrix, labels, rounds=2, threads=1)


def test_average_precision_of_a_known_ranking() -> None:
    # frauds on places 1 and 3: (1/1 + 2/3) / 2
    labels = np.array([1, 0, 1, 0])
    assert average_precision(labels, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(5 / 6)


def test_average_precision_without_frauds_is_nan() -> None:
    assert np.isnan(average_precision(np.zeros(3), np.array([0.1, 0.2, 0.3])))
