"""One micro-batch with its decisions, as input of the measured stages."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.testbed import INPUT_TOPIC, SCORE_SCHEMA_ID
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from models.backend.protocol import Backend
from models.calibration import logistic
from models.policy import Rules
from models.reasons import Explained
from schemas.batch import EventBatch
from worker.schema_sources import framed, score_schema
from worker.stages.decide import Decide, Decided
from worker.stages.encode import Encode, Extras, Provenance
from worker.stages.score import Model, Scored


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Events with their features, scores and decisions, and the stage to encode them."""

    batch: EventBatch
    enriched: Enriched
    scored: Scored
    decided: Decided
    encode: Encode

    def encoded(self, explained: Explained | None = None) -> list[bytes]:
        """Encode the framed scores."""
        return self.encode(self.batch, self.enriched, self.scored, self.decided, explained)


def make_micro_batch(
    batch: EventBatch, enriched: Enriched, backend: Backend, rules: Rules, feature_set: FeatureSet
) -> MicroBatch:
    """Score events with ``backend`` and decide with ``rules``; the encoder has default settings."""
    margins = backend.margins(enriched.matrix)
    model = Model("bench", "1", backend.device)
    scored = Scored(margins, logistic(margins), enriched.matrix, model)
    encode = Encode(
        score_schema(),
        framed(SCORE_SCHEMA_ID),
        Provenance(feature_set.fingerprint, INPUT_TOPIC),
        Extras({feature_set.names[i]: i for i in feature_set.irreproducible}, (), ()),
        feature_set.flag_names,
        lambda: time.time_ns() // 1000,
    )
    return MicroBatch(batch, enriched, scored, Decide(rules)(batch, enriched, scored), encode)
