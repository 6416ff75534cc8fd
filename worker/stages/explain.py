"""Explain: the reasons of the decisions that are not the default."""

from __future__ import annotations

import numpy as np
import structlog

from models.reasons import TOLERANCE, Explained, Reasons
from worker.stages.decide import Decided
from worker.stages.score import Model, Scored

log = structlog.get_logger(__name__)


class Explain:
    """Gives the policy's reasons for scores of one model.

    Args:
        reasons: Reasons by the policy; None where the policy has none.
        model: Model that gave the scores.
    """

    def __init__(self, reasons: Reasons | None, model: Model) -> None:
        self._reasons = reasons
        self._model = model
        self._told = False

    def __call__(self, scored: Scored, decided: Decided) -> Explained | None:
        """The reasons; None where no event has any."""
        if self._reasons is None:
            return None
        rows = np.flatnonzero(decided.codes)
        if not len(rows):
            return None
        explained = self._reasons.explain(scored.matrix, scored.margins, rows)
        if explained.not_additive and not self._told:
            self._told = True
            log.warning(
                "reasons_not_additive",
                model=self._model.name,
                model_version=self._model.version,
                events=explained.not_additive,
                farthest=explained.farthest,
                tolerance=TOLERANCE,
            )
        return explained
