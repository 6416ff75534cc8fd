"""Conditions on events: expressions over fields and over feature values of the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from base.arrays import Mask
from features.definition.feature_set import FeatureSet
from features.expression import ExpressionError, ExpressionProgram, Sort, compile_expression
from features.values.frame import Frame
from schemas.batch import EventBatch


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A compiled condition.

    Attributes:
        paths: Fields that the condition reads; decoding must return them.
        features: Features that the condition reads.
    """

    paths: frozenset[str]
    features: frozenset[str]
    _columns: Mapping[str, int]
    _program: ExpressionProgram

    def __call__(self, batch: EventBatch, matrix: npt.NDArray[np.float32]) -> Mask:
        """Evaluate the condition for N events.

        Args:
            batch: N events.
            matrix: float32[N, F] of the feature set; features have the values that models see.

        Returns:
            bool[N], True where the condition holds; False where its value is missing.
        """
        frame = Frame(batch)
        frame.features = {
            name: matrix[:, i].astype(np.float64) for name, i in self._columns.items()
        }
        holds: Mask = self._program.run(frame)["condition"] == 1.0
        return holds


def compile_condition(feature_set: FeatureSet, source: str) -> Condition:
    """Compile ``source`` to a condition on fields and features.

    Args:
        feature_set: The feature set.
        source: The expression.

    Returns:
        The condition.

    Raises:
        ExpressionError: ``source`` is not a valid condition.
    """
    fields = feature_set.fields
    features = {feature.name: feature.term for feature in feature_set.features}
    compiled = compile_expression(source, {**features, **fields})
    term = compiled.term
    if term.sort is not Sort.BOOLEAN:
        raise ExpressionError(0, f"a condition is needed here, not {term.sort.value}: write x != 0")
    # A feature may have the name of a field; the name then means the field.
    of_features = compiled.names - fields.keys()
    columns = {name: i for i, name in enumerate(features) if name in of_features}
    program = ExpressionProgram({"condition": term.node})
    return Condition(compiled.names & fields.keys(), frozenset(columns), columns, program)
