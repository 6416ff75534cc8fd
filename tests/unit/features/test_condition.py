"""Conditions over fields and the matrix; how expressions evaluate is proven elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from features.compute.condition import compile_condition
from features.definition import FeatureSet
from features.expression import ExpressionError
from tests.support.making import EVENTS, doubles, events, feature_set

FEATURES = """\
features:
  - {name: x, field: x}
  - {name: DOUBLE_X, expr: x * 2}
  - {name: LARGE, expr: amount > 2}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return feature_set(tmp_path_factory.mktemp("features"), EVENTS + FEATURES)


def test_features_have_the_values_of_the_matrix_and_fields_those_of_the_event(
    made: FeatureSet,
) -> None:
    batch = events(made, 3, x=doubles([1.0, None, 3.0]))
    # As no event with this x has it: the matrix is taken at its word.
    matrix = np.array([[9, 1e30, 0], [9, np.nan, 1], [9, 1, 0]], np.float32)
    for source, expected in {
        "DOUBLE_X > 5": [True, False, False],
        "LARGE": [False, True, False],
        # Computed with as float64, which has room for 1e60.
        "DOUBLE_X * DOUBLE_X / DOUBLE_X < 2e30": [True, False, True],
        # A feature that is called like its field means the field.
        "x == 9": [False, False, False],
        "x >= 1 and not LARGE": [True, False, True],
        "True": [True, True, True],
    }.items():
        np.testing.assert_array_equal(
            compile_condition(made, source)(batch, matrix), expected, source
        )


def test_a_condition_names_the_fields_that_it_reads(made: FeatureSet) -> None:
    assert compile_condition(made, "x > 1 and DOUBLE_X > 2 or merchant.risk > 1").paths == {
        "x",
        "merchant.risk",
    }
    assert compile_condition(made, "LARGE").paths == frozenset()


def test_a_condition_on_no_events_is_empty(made: FeatureSet) -> None:
    batch = events(made, 0, x=doubles([]))
    for source in ("x > 1", "LARGE", "True"):
        assert compile_condition(made, source)(batch, np.empty((0, 3), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("DOUBLE_X", "a condition is needed here, not a number"),
        ("DOUBLE", "did you mean 'DOUBLE_X'"),
        ("id", "text"),
    ],
)
def test_an_expression_that_is_no_condition_is_refused(
    made: FeatureSet, source: str, said: str
) -> None:
    with pytest.raises(ExpressionError, match=said):
        compile_condition(made, source)
