"""Decide: score to decision, by policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.policy import Policy
from worker.score import Scored


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """codes: int8[N] into ``names``."""

    codes: npt.NDArray[np.int8]
    names: tuple[str, ...]
    segment: str
    policy_version: str

    def counts(self) -> dict[str, int]:
        """Events by decision."""
        found = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return {name: n for name, n in zip(self.names, found, strict=True) if n}


@dataclass(frozen=True, slots=True, eq=False)
class Decide:
    """Applies one policy."""

    policy: Policy

    def __call__(self, scored: Scored) -> Decided:
        return Decided(
            self.policy.decide(scored.scores),
            self.policy.decisions,
            self.policy.segments[0].name,
            self.policy.version,
        )
