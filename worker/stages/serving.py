"""Stages that depend on the model or the policy: score, decide, explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from base.arrays import Rows
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from models.backend.protocol import Backend
from models.bundle.load import Bundle
from models.calibration import Calibration, logistic
from models.policy import Rules
from models.reasons import TOLERANCE, Explained, Reasons
from schemas.batch import EventBatch

log = structlog.get_logger(__name__)

_LOWEST = np.finfo(np.float32).min


class LoadedModel(NamedTuple):
    """A bundle, and the backend that scores with its model."""

    bundle: Bundle
    backend: Backend


class Serving:
    """A model and a policy that serve together, and the stages that are made from them.

    Both are exchanged between micro-batches by making another `Serving`.

    Attributes:
        model: The model.
        rules: The policy, compiled.
        score: Stage from features to scores.
        decide: Stage from scores to decisions.
        explain: Stage from decisions to reasons.
    """

    def __init__(self, feature_set: FeatureSet, model: LoadedModel, rules: Rules) -> None:
        """Make the stages.

        Args:
            feature_set: Feature set of the pipeline.
            model: Model that serves.
            rules: Policy, compiled against the same feature set.

        Raises:
            BundleRefusedError: The feature set is not the model's.
            ConfigurationError: The policy's catalogue has no code for one of the model's features.
        """
        self.model = model
        self.rules = rules
        self.score = Score(model.bundle, model.backend, feature_set)
        self.decide = Decide(rules)
        names = [feature.name for feature in model.bundle.features]
        coding = rules.coding(names, f"{model.bundle.name} {model.bundle.version}")
        reasons = None if coding is None else Reasons(coding, model.backend)
        self.explain = Explain(reasons, self.score.model)


class Model(NamedTuple):
    """Name and version of the model that gave the scores, and the kind of device it ran on."""

    name: str
    version: str
    device: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of the events of a micro-batch.

    Attributes:
        margins: float32[N], log-odds.
        scores: float64[N], probabilities.
        matrix: float32[N, F], features that the model saw, in the model's order.
        model: Model that gave the scores.
        unscored: intp[U], rows of events for which the model gives no finite number. Their margin
            is the lowest, so that they have the default decision until they are dead letters.
    """

    margins: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float32]
    model: Model
    unscored: Rows = field(default_factory=lambda: np.empty(0, np.intp))


class Score:
    """Score: the columns that a model was trained on to margins and calibrated scores.

    Raises:
        BundleRefusedError: The feature set lacks one of the columns, or defines it otherwise.
    """

    def __init__(self, bundle: Bundle, backend: Backend, feature_set: FeatureSet) -> None:
        self._backend = backend
        self.model = Model(bundle.name, bundle.version, backend.device)
        self._columns = bundle.columns_for(feature_set)
        knots = bundle.calibration
        self._calibrate = (
            logistic if knots is None else Calibration(knots.margins, knots.scores).apply
        )

    def __call__(self, enriched: Enriched) -> Scored:
        matrix = enriched.matrix
        if self._columns is not None:
            matrix = np.ascontiguousarray(matrix[:, self._columns])
        margins = self._backend.margins(matrix)
        unscored = np.flatnonzero(~np.isfinite(margins))
        if len(unscored):
            margins = margins.copy()
            margins[unscored] = _LOWEST
        return Scored(margins, self._calibrate(margins), matrix, self.model, unscored)


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
        return {
            (self.segment_names[cell // width], self.names[cell % width]): number
            for cell, number in enumerate(np.bincount(cells).tolist())
            if number
        }


class Decide:
    """Decide: scores to decisions, by one policy."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._segment_names = tuple(segment.name for segment in rules.policy.segments)

    def __call__(self, batch: EventBatch, enriched: Enriched, scored: Scored) -> Decided:
        decisions = self._rules.decide(batch, enriched.matrix, scored.scores, enriched.flags)
        policy = self._rules.policy
        return Decided(
            decisions.codes,
            decisions.segments,
            policy.decisions,
            self._segment_names,
            policy.version,
        )


class Explain:
    """Explain: the reasons of the decisions that are not the default.

    Args:
        reasons: Reasons by the policy; None if the policy has none.
        model: Model that gave the scores.
    """

    def __init__(self, reasons: Reasons | None, model: Model) -> None:
        self._reasons = reasons
        self._model = model
        self._told = False

    def __call__(self, scored: Scored, decided: Decided) -> Explained | None:
        """The reasons; None if no event has any."""
        if self._reasons is None:
            return None
        rows = np.setdiff1d(np.flatnonzero(decided.codes), scored.unscored, assume_unique=True)
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
