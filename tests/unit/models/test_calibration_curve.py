"""The calibration curve: through its knots, strictly rising, inside 0 and 1, alike everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration import Calibration

KNOTS = (-7.5, -3.25, 0.0, 1.1, 4.7)
SCORES = (0.0004, 0.011, 0.37, 0.62, 0.991)
CURVE = Calibration(KNOTS, SCORES)


# of the margins in the test below
RECORDED = [
    "0x1.3a92a30553262p-16",
    "0x1.0c4fe5666c917p-10",
    "0x1.fce9889c47350p-3",
    "0x1.7ac452bb35902p-2",
    "0x1.c0b2bc39b763ap-2",
    "0x1.91dcf503c131dp-1",
    "0x1.ff2a305446738p-1",
]


@st.composite
def curves(draw: st.DrawFn) -> Calibration:
    margins = draw(st.lists(st.floats(-30, 30, width=16), min_size=2, max_size=40, unique=True))
    parts = draw(
        st.lists(st.integers(1, 10**6), min_size=len(margins) + 1, max_size=len(margins) + 1)
    )
    return Calibration(sorted(margins), (np.cumsum(parts)[:-1] / sum(parts)).tolist())


def test_a_curve_goes_through_its_knots_and_straight_between() -> None:
    at = np.array([*KNOTS, 2.9, -5.375], np.float32)
    expected = [*SCORES, 0.62 + 0.371 * 0.5, 0.0057]
    np.testing.assert_allclose(CURVE.apply(at), expected, atol=1e-7)
    assert CURVE.apply(at).dtype == np.float64


@given(curves(), st.floats(-1e5, 1e5, width=32))
def test_a_curve_rises_with_every_step_of_float32(curve: Calibration, margin: float) -> None:
    start = np.float32(margin)
    steps = np.array([start, np.nextafter(start, np.float32(np.inf))], np.float32)
    low, high = curve.apply(steps)
    # Equal where the curve is so flat that float64 has no room for the difference.
    assert 0 < low <= high < 1


def test_an_ordinary_curve_rises_strictly_with_every_step() -> None:
    curve = Calibration([-6.0, -2.0, 1.0], [0.001, 0.05, 0.8])
    margins = np.linspace(-20, 20, 4001, dtype=np.float32)
    following = np.nextafter(margins, np.float32(np.inf))
    clear = np.abs(margins) > 1e-2
    assert (curve.apply(margins) < curve.apply(following))[clear].all()


@given(curves())
def test_a_curve_never_falls_around_its_knots(curve: Calibration) -> None:
    knots = np.array(curve.margins, np.float32)
    infinity = np.float32(np.inf)
    around = [np.nextafter(knots, -infinity), knots, np.nextafter(knots, infinity)]
    scores = curve.apply(np.stack(around, axis=1).ravel())
    assert (np.diff(scores) >= 0).all()


def test_far_margins_keep_their_order_inside_the_bounds() -> None:
    far = np.array([-1e30, -1e5, -1e4, -100, -50, 50, 100, 1e4, 1e5, 1e30], np.float32)
    scores = CURVE.apply(far)
    assert (np.diff(scores) > 0).all()
    assert scores[0] > 0
    assert scores[-1] < 1


def test_beyond_its_last_knot_a_curve_halves_what_is_left() -> None:
    scores = CURVE.apply(np.array([5.7, 7.7, 11.7, -8.5, -10.5], np.float32))
    expected = [0.9955, 0.99775, 0.998875, 0.0002, 0.0001]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_scores_close_to_the_bounds_stay_inside() -> None:
    curve = Calibration([0, 1], [5e-324, np.nextafter(1.0, 0.0)])
    scores = curve.apply(np.array([-1e9, -5, 0, 1, 5, 1e9], np.float32))
    assert (scores > 0).all()
    assert (scores < 1).all()


def test_a_row_alone_scores_as_among_others_to_the_bit() -> None:
    margins = (np.random.default_rng(0).normal(size=1_003) * 6).astype(np.float32)
    together = CURVE.apply(margins)
    for size in (1, 3, 64):
        parts = [CURVE.apply(margins[i : i + size]) for i in range(0, len(margins), size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_scores_are_the_same_on_every_machine() -> None:
    # recorded: multiplication and addition rounded as one give other last bits
    margins = np.array([-30.5, -7.25, -1.1, -0.001, 0.3, 2.7, 9.9], dtype=np.float32)
    assert [score.hex() for score in CURVE.apply(margins).tolist()] == RECORDED


@pytest.mark.parametrize(
    ("margins", "scores", "named"),
    [
        ([0, 1], [0.1], "2 margins and 1 scores"),
        ([0], [0.1], "at least two"),
        ([0, 0], [0.1, 0.2], "margins must rise strictly"),
        ([0, 1], [0.2, 0.2], "scores must rise strictly"),
        ([0, float("nan")], [0.1, 0.2], "margins must rise strictly"),
        ([0, float("inf")], [0.1, 0.2], "within 1e"),
        ([0, 1], [0.0, 0.2], "between 0 and 1"),
        ([0, 1], [0.1, 1.0], "between 0 and 1"),
    ],
)
def test_knots_that_make_no_curve_are_refused(
    margins: list[float], scores: list[float], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        Calibration(margins, scores)
