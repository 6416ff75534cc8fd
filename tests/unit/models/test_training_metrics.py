"""Metrics of scores, held against the Handbook's own words for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.metrics import (
    Metrics,
    brier_score,
    calibration_error,
    card_precision,
    roc_auc,
)


def as_in_the_handbook(frame: pd.DataFrame, top: int) -> float:
    """Its section "Card Precision top-k", over pandas."""
    detected: list[int] = []
    shares = []
    for day in sorted(frame["day"].unique()):
        of_day = frame[(frame["day"] == day) & ~frame["card"].isin(detected)]
        cards = of_day.groupby("card")[["score", "label"]].max()
        first = cards.sort_values("score", ascending=False).head(top)
        hits = first[first["label"] == 1].index
        shares.append(len(hits) / top)
        detected.extend(hits)
    return float(np.mean(shares))


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_card_precision_is_that_of_the_handbook(seed: int, top: int) -> None:
    random = np.random.default_rng(seed)
    rows = 120
    frame = pd.DataFrame(
        {
            "day": random.integers(0, 5, rows),
            "card": random.integers(0, 30, rows),
            "label": (random.random(rows) < 0.2).astype(int),
            "score": random.permutation(rows) / rows,
        }
    )
    found = card_precision(
        frame["label"].to_numpy(),
        frame["score"].to_numpy(),
        frame["card"].to_numpy(),
        frame["day"].to_numpy(),
        top,
    )
    assert found == pytest.approx(as_in_the_handbook(frame, top))


def test_a_card_that_was_found_makes_room_the_next_day() -> None:
    cards, days = np.array([1, 2, 1, 2]), np.array([0, 0, 1, 1])
    labels, scores = np.array([1, 1, 1, 1]), np.array([0.9, 0.8, 0.9, 0.8])
    assert card_precision(labels, scores, cards, days, top=1) == 1.0
    labels = np.array([1, 0, 1, 0])
    assert card_precision(labels, scores, cards, days, top=1) == 0.5


def test_scores_that_are_what_happens_have_no_calibration_error() -> None:
    scores = np.repeat([0.05, 0.25, 0.95], 100)
    labels = np.zeros(300)
    labels[:5], labels[100:125], labels[200:295] = 1, 1, 1
    assert calibration_error(labels, scores) == pytest.approx(0, abs=1e-12)
    assert calibration_error(labels, np.minimum(scores + 0.03, 1)) == pytest.approx(0.03)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert calibration_error(np.array([1, 1]), np.array([1.0, 0.95])) == pytest.approx(0.025)


def test_brier_score_of_known_values() -> None:
    assert brier_score(np.array([1, 0]), np.array([0.8, 0.4])) == pytest.approx(0.1)


def test_the_area_under_the_curve_is_unknown_without_both_labels() -> None:
    assert np.isnan(roc_auc(np.zeros(3), np.arange(3.0)))
    assert np.isnan(roc_auc(np.ones(3), np.arange(3.0)))


def test_the_worth_of_folds_is_their_mean() -> None:
    metrics = Metrics.mean([Metrics(0.8, 0.5, 0.1), Metrics(0.9, 0.7, 0.3)])
    assert metrics.roc_auc == pytest.approx(0.85)
    assert metrics.average_precision == pytest.approx(0.6)
    assert metrics.card_precision_100 == pytest.approx(0.2)
