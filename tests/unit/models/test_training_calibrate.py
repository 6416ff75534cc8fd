"""The curve that is fitted: strictly rising, few knots, and right on what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import logistic
from models.training.calibrate import fit_calibration
from models.training.metrics import calibration_error


def drawn(rows: int, seed: int, shift: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Margins, and labels that are `shift` rarer than the margins say."""
    random = np.random.default_rng(seed)
    margins = (random.normal(size=rows) * 2.5).astype(np.float32)
    labels = (random.random(rows) < logistic(margins - np.float32(shift))).astype(np.int8)
    return margins, labels


def test_calibration_gives_probabilities_where_the_logistic_does_not() -> None:
    curve = fit_calibration(*drawn(60_000, seed=1))
    margins, labels = drawn(60_000, seed=2)
    assert calibration_error(labels, logistic(margins)) > 0.2
    scores = curve.apply(margins)
    assert calibration_error(labels, scores) < 0.004
    assert scores.sum() == pytest.approx(labels.sum(), rel=0.05)


def told_apart(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins as boosted trees give them: most frauds far above, the others among all the rest."""
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.03).astype(np.int8)
    found = (labels == 1) & (random.random(rows) < 0.7)
    margins = np.where(found, 3.0, -5.0) + random.gamma(2.0, 0.5, rows) * np.where(found, -1, 1)
    return margins.astype(np.float32), labels


@pytest.mark.parametrize("rows", [500, 2_000, 8_000])
def test_few_frauds_make_a_curve_that_expects_neither_more_nor_fewer(rows: int) -> None:
    """Some fifteen, sixty and 240 frauds: each sample follows chance, all of them do not."""
    margins, labels = told_apart(60_000, seed=1)
    curves = [fit_calibration(*told_apart(rows, seed)) for seed in range(2, 22)]
    expected = [curve.apply(margins).sum() / labels.sum() for curve in curves]
    assert np.mean(expected) == pytest.approx(1.0, abs=0.15)
    assert np.median([calibration_error(labels, c.apply(margins)) for c in curves]) < 0.01


@pytest.mark.parametrize("rows", [200, 40_000])
def test_a_calibration_curve_expects_as_many_frauds_as_there_were(rows: int) -> None:
    margins, labels = drawn(rows, seed=5)
    curve = fit_calibration(margins, labels)
    assert curve.apply(margins).sum() == pytest.approx(labels.sum(), rel=1e-4)


@pytest.mark.parametrize("spread", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("gap", [5.0, 8.0, 12.0])
def test_margins_that_tell_frauds_apart_expect_as_many(spread: float, gap: float) -> None:
    """Straight lines between far knots expected up to eight times as many."""
    random = np.random.default_rng(3)
    labels = (np.arange(60_000) < 250).astype(np.int8)
    margins = (np.where(labels, gap, -gap) + random.normal(size=60_000) * spread).astype(np.float32)
    scores = fit_calibration(margins, labels).apply(margins)
    assert scores.sum() == pytest.approx(250, rel=0.01)
    assert np.median(scores[:250]) > 0.5


def test_a_margin_far_from_all_others_takes_no_part_in_the_count() -> None:
    margins = np.arange(10_000, dtype=np.float32)
    margins[-1] = 90_000
    labels = (np.arange(10_000) == 9_999).astype(np.int8)
    scores = fit_calibration(margins, labels).apply(margins)
    assert scores.sum() == pytest.approx(1, rel=0.01)


def test_margins_that_tell_nothing_give_the_share_of_frauds() -> None:
    margins, labels = drawn(20_000, seed=6)
    labels = np.random.default_rng(7).permutation(labels)
    scores = fit_calibration(margins, labels).apply(margins)
    assert calibration_error(labels, scores) < 0.01


def test_margins_far_beyond_any_log_odds_have_a_curve() -> None:
    margins = np.array([-800, -799, 0, 1, 799, 800], np.float32)
    curve = fit_calibration(margins, np.array([0, 0, 0, 1, 1, 1], np.int8))
    assert (np.diff(curve.apply(np.array([-5, 0, 5], np.float32))) > 0).all()


def test_knots_are_few_and_each_stands_for_frauds() -> None:
    margins, labels = drawn(60_000, seed=1)
    few, many = (fit_calibration(margins, labels, frauds) for frauds in (400, 20))
    assert 2 <= len(few.margins) < len(many.margins) <= labels.sum() / 20


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 400), st.floats(0, 4))
def test_order_by_score_is_order_by_margin(seed: int, rows: int, shift: float) -> None:
    margins, labels = drawn(rows, seed, shift)
    margins = np.round(margins, 1)
    labels[0], labels[-1] = 0, 1
    curve = fit_calibration(margins, labels)
    rising = np.unique(margins)
    assert (np.diff(curve.apply(rising)) > 0).all()


def test_labels_that_fall_with_the_margin_still_give_a_rising_curve() -> None:
    margins = np.arange(100, dtype=np.float32)
    curve = fit_calibration(margins, (margins < 50).astype(np.int8))
    assert (np.diff(curve.apply(margins)) > 0).all()


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match="needs both kinds"):
        fit_calibration(np.arange(9, dtype=np.float32), np.full(9, label))
