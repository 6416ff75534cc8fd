"""Samples of training rows weigh as much as what they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.folds import Span
from models.training.sample import Sample, sample
from models.training.table import LabelledEvents
from tests.support.training_table import DAY, START

ALL = Span(None)


def sampled(frauds: int, others: int, most: int, span: Span = ALL, seed: int = 0) -> Sample:
    rows = frauds + others
    labels = np.random.default_rng(5).permutation(np.arange(rows) < frauds).astype(np.int8)
    times = START + np.arange(rows) * DAY // 10
    nothing = np.zeros((rows, 1), np.float32)
    cards = np.zeros(rows, np.int32)
    events = LabelledEvents(nothing, times, cards, labels, times, None, False)
    return sample(events, np.arange(rows), labels, span, most, seed)


def test_few_rows_are_taken_as_they_are() -> None:
    found = sampled(10, 990, 1_000)
    assert found.weights is None
    assert found.shares == (1.0, 1.0)
    assert len(found.rows) == 1_000


@pytest.mark.parametrize(("frauds", "kept"), [(10, 10), (400, 400), (900, 500)])
def test_legitimate_rows_of_a_large_table_are_sampled_with_weights(frauds: int, kept: int) -> None:
    found = sampled(frauds, 9_000, 1_000)
    assert len(found.rows) == 1_000
    assert (np.diff(found.rows) > 0).all()
    assert found.labels.sum() == kept
    assert found.weights is not None
    assert found.weights[found.labels == 0].sum() == pytest.approx(9_000, rel=1e-4)
    assert found.weights[found.labels == 1].sum() == pytest.approx(frauds, rel=1e-4)


def test_frauds_are_sampled_only_where_there_are_more_than_others() -> None:
    found = sampled(900, 100, 500)
    assert found.labels.sum() == 400
    assert found.shares[0] == 1.0


def test_the_same_seed_takes_the_same_rows() -> None:
    one, again, other = (sampled(10, 9_000, 1_000, seed=seed).rows for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()


def test_older_days_weigh_less() -> None:
    found = sampled(10, 990, 1_000, Span(None, 30))
    assert found.weights is not None
    assert found.weights[-1] == 1.0
    assert found.weights[-1 - 300] == pytest.approx(0.5)
    assert len(found.rows) == 1_000
