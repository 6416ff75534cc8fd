"""A model and a policy that serve together, and fit each other and the feature set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from features.definition import FeatureSet
from models.backend.protocol import Backend
from models.bundle.load import Bundle
from models.policy import Rules
from models.reasons import Reasons
from worker.stages.decide import Decide
from worker.stages.explain import Explain
from worker.stages.score import Score


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """The stages that depend on model or policy. They are exchanged together, between batches."""

    score: Score
    decide: Decide
    explain: Explain

    @classmethod
    def of(cls, feature_set: FeatureSet, bundle: Bundle, backend: Backend, rules: Rules) -> Self:
        """Make the stages of a model and a policy, ready to serve.

        Args:
            feature_set: Feature set of the pipeline.
            bundle: Bundle of the model.
            backend: Backend that scores with the model.
            rules: Policy, compiled against the same feature set.

        Raises:
            BundleRefusedError: The feature set is not the model's.
            ConfigurationError: The policy's catalogue has no code for one of the model's features.
        """
        score = Score(bundle, backend, feature_set)
        coding = rules.coding(
            [feature.name for feature in bundle.features], f"{bundle.name} {bundle.version}"
        )
        reasons = None if coding is None else Reasons(coding, backend)
        return cls(score, Decide(rules), Explain(reasons, score.model))
