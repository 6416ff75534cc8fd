"""Decide: score to decision, by policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compute.matrix import Enriched
from models.policy import Rules
from schemas.batch import EventBatch
from worker.stages.score import Scored


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Decisions on the events of a micro-batch.

    Attributes:
        codes: int8[N], indices into ``names``.
        segments: int8[N], indices into ``segment_names``.
        names: Decisions of the policy, the default first.
        segment_names: Segments of the policy.
        policy_version: Version of the policy.
    """

    codes: npt.NDArray[np.int8]
    segments: npt.NDArray[np.int8]
    names: tuple[str, ...]
    segment_names: tuple[str, ...]
    policy_version: str

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Events by segment and decision."""
        width = len(self.names)
        cells = self.segments.astype(np.intp) * width + self.codes
        found, numbers = np.unique(cells, return_counts=True)
        return {
            (self.segment_names[cell // width], self.names[cell % width]): number
            for cell, number in zip(found.tolist(), numbers.tolist(), strict=True)
        }


class Decide:
    """Applies one policy."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._segment_names = tuple(segment.name for segment in rules.policy.segments)

    def __call__(self, batch: EventBatch, enriched: Enriched, scored: Scored) -> Decided:
        found = self.rules.decide(batch, enriched.matrix, scored.scores, enriched.flags)
        policy = self.rules.policy
        return Decided(
            found.codes, found.segments, policy.decisions, self._segment_names, policy.version
        )
