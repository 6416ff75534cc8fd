"""Compile a policy against a feature set, and decide on batches of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.suggest import unknown
from features.compute.condition import Condition, compile_condition
from features.definition import FeatureSet
from features.expression import ExpressionError
from models.policy.catalogue import Coding
from models.policy.policy import DEGRADED, Policy, Segment
from schemas.batch import EventBatch


class Decisions(NamedTuple):
    """Decisions on N events.

    Attributes:
        codes: int8[N], places in the policy's decisions.
        segments: int8[N], places in the policy's segments.
    """

    codes: npt.NDArray[np.int8]
    segments: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class _CompiledBands:
    """Bands of a segment.

    Attributes:
        thresholds: float64[B], rising.
        codes: int8[B+1], decisions as places in the policy's decisions. `codes[0]` is below all
            thresholds; `codes[i]` begins at `thresholds[i-1]`.
    """

    thresholds: npt.NDArray[np.float64]
    codes: npt.NDArray[np.int8]

    def decide(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int8]:
        return self.codes[np.searchsorted(self.thresholds, scores, side="right")]


class Rules:
    """A policy compiled against a feature set.

    Attributes:
        policy: The policy.
        paths: Event fields that its conditions read, which must be decoded.
        features: Features that its conditions read.
    """

    def __init__(self, policy: Policy, feature_set: FeatureSet) -> None:
        """Compile the policy.

        Raises:
            ConfigurationError: with the place in the file, for names that the feature set lacks.
        """
        self.policy = policy
        self._conditions = _conditions(policy, feature_set)
        self._bands = [_bands(segment, policy.decisions) for segment in policy.segments]
        self._degraded = _degraded(policy, feature_set.flag_names)
        self._floor = np.int8(policy.decisions.index(policy.when_degraded or policy.default))
        self.paths: frozenset[str] = frozenset().union(*(c.paths for c in self._conditions))
        self.features: frozenset[str] = frozenset().union(*(c.features for c in self._conditions))
        if policy.catalogue is not None:
            policy.catalogue.check(feature_set.names)

    def decide(
        self,
        batch: EventBatch,
        matrix: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float64],
        flags: npt.NDArray[np.uint64],
    ) -> Decisions:
        """Decide on N events, each by the bands of the first segment whose condition holds.

        Args:
            batch: The events.
            matrix: float32[N, F] of the feature set.
            scores: float64[N]; a score at a threshold belongs to that threshold's band.
            flags: uint64[N]; a degraded event gets `when_degraded`, unless its score alone leads to
                a more severe decision.
        """
        segments = np.full(len(batch), len(self._conditions), np.int8)
        # Later segments are written first, so that the first segment whose condition holds wins.
        for place in reversed(range(len(self._conditions))):
            segments[self._conditions[place](batch, matrix)] = place
        codes = self._bands[-1].decide(scores)
        for place, bands in enumerate(self._bands[:-1]):
            rows = np.flatnonzero(segments == place)
            codes[rows] = bands.decide(scores[rows])
        if self._floor and self._degraded:
            degraded = (flags & self._degraded) != 0
            np.maximum(codes, self._floor, out=codes, where=degraded)
        return Decisions(codes, segments)

    def coding(self, features: Sequence[str], model: str) -> Coding | None:
        """Find the reason code of each feature of a model.

        Args:
            features: Names of the model's features, in its order.
            model: Name and version of the model in messages.

        Returns:
            The codes; None if the policy gives no reasons.

        Raises:
            ConfigurationError: for features without a code.
        """
        catalogue = self.policy.catalogue
        return None if catalogue is None else catalogue.coding(features, model)


def _conditions(policy: Policy, feature_set: FeatureSet) -> list[Condition]:
    """Compile the conditions of all segments but the last, which has none."""
    conditions = []
    for i, segment in enumerate(policy.segments):
        if segment.where is None:
            continue
        try:
            conditions.append(compile_condition(feature_set, segment.where))
        except ExpressionError as error:
            at = ("segments", i, "where")
            raise policy.document.refuse_within(at, error.offset, str(error)) from error
    return conditions


def _bands(segment: Segment, decisions: Sequence[str]) -> _CompiledBands:
    rising = segment.bands[::-1]
    codes = [0, *(decisions.index(band.decision) for band in rising)]
    thresholds = [band.threshold for band in rising]
    return _CompiledBands(np.array(thresholds, np.float64), np.array(codes, np.int8))


def _degraded(policy: Policy, flag_names: Sequence[str]) -> np.uint64:
    """Bit mask of the flags that make an event degraded.

    Raises:
        ConfigurationError: for a flag that the policy names and the feature set lacks.
    """
    mask = 0
    for i, name in enumerate(policy.degraded):
        bits = [
            1 << bit
            for bit, flag in enumerate(flag_names)
            if name in (flag, flag.partition(":")[0])
        ]
        if not bits and policy.degraded is not DEGRADED:
            known = {*flag_names, *(flag.partition(":")[0] for flag in flag_names)}
            message = f"{unknown('flag', name, known)}; correct or remove it"
            raise policy.document.refuse(("degraded", i), message)
        mask |= sum(bits)
    return np.uint64(mask)
