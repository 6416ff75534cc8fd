"""The logistic of a margin: right, rising, and the same for a row alone as among others."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import log_odds, logistic

FLOATS = st.floats(-100, 100, width=32)


def exact(margin: float) -> float:
    with localcontext() as context:
        context.prec = 60
        return float(1 / (1 + (-Decimal(margin)).exp()))


# of the margins in the test below
RECORDED = [
    "0x1.ff3864232b208p-45",
    "0x1.7412593d98a3ep-11",
    "0x1.ff77a09e4f6ffp-3",
    "0x1.ffbe76c8dba04p-2",
    "0x1.0000000000000p-1",
    "0x1.261d54774efcap-1",
    "0x1.dfc1f4e699ea4p-1",
    "0x1.fff96c8038fe6p-1",
]


@given(FLOATS)
def test_calibration_is_the_logistic_within_two_units_in_the_last_place(margin: float) -> None:
    score = float(logistic(np.array([margin], dtype=np.float32))[0])
    assert abs(score - exact(margin)) <= 2 * math.ulp(exact(margin))


@given(FLOATS)
def test_calibration_rises_with_every_step_of_float32(margin: float) -> None:
    start = np.float32(margin)
    steps = np.array([start, np.nextafter(start, np.float32(np.inf))], dtype=np.float32)
    low, high = logistic(steps)
    assert high >= low
    if margin < 22 and abs(margin) > 1e-8:
        assert high > low


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_a_row_alone_scores_as_among_others_to_the_bit(scale: float) -> None:
    margins = (np.random.default_rng(0).normal(size=1_003) * scale).astype(np.float32)
    together = logistic(margins).view(np.uint64)
    for size in (1, 2, 3, 5, 8, 17, 64):
        for offset in (0, 1, 3):
            rest = margins[offset:]
            parts = [logistic(rest[i : i + size]) for i in range(0, len(rest), size)]
            apart = np.concatenate(parts).view(np.uint64)
            np.testing.assert_array_equal(apart, together[offset:])
    strided = logistic(np.repeat(margins, 3)[::3]).view(np.uint64)
    np.testing.assert_array_equal(strided, together)


def test_scores_are_the_same_on_every_machine() -> None:
    # recorded; numpy's own exp gives other last bits on another processor
    margins = np.array([-30.5, -7.25, -1.1, -0.001, 0.0, 0.3, 2.7, 9.9], dtype=np.float32)
    assert [score.hex() for score in logistic(margins).tolist()] == RECORDED


def test_extremes_stay_within_bounds() -> None:
    top = np.finfo(np.float32).max
    scores = logistic(np.array([-top, -800, -700, 0, 700, top], dtype=np.float32))
    assert scores.dtype == np.float64
    assert scores[3] == 0.5
    assert (scores[:3] > 0).all()
    assert (scores[:3] < 1e-300).all()
    assert (scores[4:] == 1).all()


def test_calibration_of_no_margins_is_empty() -> None:
    assert logistic(np.empty(0, dtype=np.float32)).shape == (0,)


def test_log_odds_are_the_inverse_of_the_logistic() -> None:
    margins = np.linspace(-60, 15, 2_001, dtype=np.float32)
    probabilities = logistic(margins)
    np.testing.assert_allclose(log_odds(probabilities), margins, rtol=1e-6, atol=1e-6)
    p = np.array([0.1, 0.5, 0.999, 1e-30])
    np.testing.assert_allclose(log_odds(p), np.log(p / (1 - p)), rtol=1e-7)


def test_log_odds_are_finite_and_rise_up_to_the_ends_of_float32() -> None:
    ends = np.array([-1.0, 0.0, 2**-149, 2**-126, 0.5, 1 - 2**-24, 1.0, 2.0], np.float32)
    found = log_odds(ends)
    assert found.dtype == np.float32
    assert (found[0], found[-1]) == (
        pytest.approx(-87.3365, abs=1e-3),
        pytest.approx(16.6355, abs=1e-3),
    )
    assert (np.diff(found) >= 0).all()
    assert np.isnan(log_odds(np.array([np.nan])))
