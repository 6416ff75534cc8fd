"""The stages from decode to encode as one pure step: without Kafka, and with a given clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from base.errors import ErrorCode, RecordError
from features.compute.bind import bind
from features.compute.enrich import Enriching
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.protocol import OnlineStore, Writes
from features.values.flags import Flags
from features.windows.plan import AHEAD
from schemas.avro.decoder import Decoder
from schemas.batch import EventBatch, Headers, Records
from worker.delivery.publish import SizeLimits, too_large, without_key
from worker.histories import Histories
from worker.stages.dead_letter import DeadLetter, Stage, dead_letter
from worker.stages.encode import Encode
from worker.stages.serving import Decided, Model, Scored, Serving

_BEGINNING = LogState()


@dataclass(frozen=True, slots=True, eq=False)
class Processed:
    """Result of the stages for a micro-batch of records.

    ``records``, ``keys``, ``values``, ``headers``, ``scores``, ``decided`` and ``flag_bits`` are
    parallel, with one entry for each score, in the order of the records.

    Attributes:
        records: Records that have a score.
        keys: Keys of the scores.
        values: Framed scores.
        headers: Headers of the scores; None if there are none.
        dead_letters: Dead letters of the other records.
        model: Model that gave the scores.
        scores: float64[N], probabilities.
        decided: Decisions.
        flags: Flags of the feature set.
        flag_bits: uint64[N], the flags of the events, encoded.
        seconds: Time spent in each stage, in seconds.
        writes: Writes that the online store must have before the micro-batch is committed.
        after: State of the log behind the micro-batch.
        explained: Number of events that were given reasons.
        not_additive: Number of explained events whose contributions do not add up to the margin.
        coverage: Share of each entity's longest window that its histories reach back, 0 to 1.
    """

    records: Records
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    headers: Sequence[Headers] | None
    dead_letters: Sequence[DeadLetter]
    model: Model
    scores: npt.NDArray[np.float64]
    decided: Decided
    flags: Flags
    flag_bits: npt.NDArray[np.uint64]
    seconds: Mapping[str, float]
    writes: Writes = field(default_factory=Writes)
    after: LogState = field(default_factory=LogState)
    explained: int = 0
    not_additive: int = 0
    coverage: Mapping[str, float] = field(default_factory=dict)

    @property
    def decisions(self) -> Mapping[tuple[str, str], int]:
        """Events by segment and decision."""
        return self.decided.counts()

    @property
    def flagged(self) -> Mapping[str, int]:
        """Number of events by flag."""
        return self.flags.count(self.flag_bits)

    @property
    def ahead(self) -> npt.NDArray[np.bool_]:
        """Mask of the scored events that are ahead of time, bool[N]."""
        return self.flags.carries(AHEAD, self.flag_bits)

    def with_letters(self, letters: Mapping[int, DeadLetter]) -> Self:
        """Replace the scores of some rows by dead letters.

        The writes to the store stay: the event still happened even if its score is refused, and
        later events see it.
        """
        if not letters:
            return self
        kept = np.setdiff1d(np.arange(len(self.values)), list(letters))
        rows = kept.tolist()
        return replace(
            self,
            records=self.records.take(kept),
            keys=[self.keys[i] for i in rows],
            values=[self.values[i] for i in rows],
            headers=None if self.headers is None else [self.headers[i] for i in rows],
            # In the order of their partitions, whichever stage they come from.
            dead_letters=sorted(
                [*self.dead_letters, *letters.values()],
                key=lambda letter: (letter.position.partition, letter.position.offset),
            ),
            decided=replace(
                self.decided,
                codes=self.decided.codes[kept],
                segments=self.decided.segments[kept],
            ),
            scores=self.scores[kept],
            flag_bits=self.flag_bits[kept],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """Decode: record bodies to columns, and these to events; invalid records to dead letters.

    Attributes:
        decoder: Decoder of the input topic.
        feature_set: Feature set whose bindings apply.
    """

    decoder: Decoder
    feature_set: FeatureSet

    def __call__(self, records: Records) -> tuple[EventBatch, list[DeadLetter]]:
        """Return the events in the order of their records, and a dead letter for each other record.

        Raises:
            DependencyUnavailableError: The registry is away, and a schema is needed from it.
        """
        if (tokens := self.feature_set.bindings.token_key) is not None:
            records = replace(records, key_token=tokens.token)
        decoded = self.decoder.decode(records.values, records.headers)
        batch, errors = bind(self.feature_set, records, decoded)
        letters = [
            dead_letter(
                records,
                row,
                error,
                Stage.DECODE,
                # A record whose headers cannot be read may name another schema there.
                decoded.schema_ids[row]
                if decoded.schema_ids and row not in records.faults
                else None,
            )
            for row, error in sorted(errors.items())
        ]
        return batch, letters


@dataclass(frozen=True, slots=True, eq=False)
class Enrich:
    """Enrich: events to the feature matrix, with one round trip to the online store.

    Attributes:
        feature_set: Feature set to compute.
        store: Online store.
        histories: Histories that the windows read.
    """

    feature_set: FeatureSet
    store: OnlineStore
    histories: Histories

    def __call__(self, batch: EventBatch, log: LogState) -> Enriched:
        """Compute the features of a micro-batch, and the writes for the store.

        The call waits for the writes of the micro-batch before.

        Args:
            batch: Events of the micro-batch.
            log: State of the log before them.

        Raises:
            DependencyUnavailableError: The store is away.
        """
        known = self.histories.known(log)
        enriching = Enriching(self.feature_set, batch, known, self.histories.namespace())
        self.histories.await_written()
        reads = self.histories.checked(self.store, batch.records, enriching.until, log)
        return enriching.read(reads).finish()

    def coverage(self, enriched: Enriched) -> dict[str, float]:
        """Share of each entity's longest window that its histories reach back, 0 to 1."""
        namespace = self.histories.namespace() or Namespace.local(self.feature_set.name)
        return self.feature_set.histories.coverage(enriched.after, namespace)


class _Timer:
    """Time of each stage; one begins when the one before ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def end(self, stage: str) -> None:
        began, self._began = self._began, time.perf_counter()
        self.seconds[stage] = self._began - began


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """The stages in their order; they never call each other.

    Attributes:
        decode: Stage from records to events.
        enrich: Stage from events to features.
        serving: Stages that depend on the model or the policy.
        encode: Stage to score records.
        limits: Returns the size limits of the output topics.
    """

    decode: Decode
    enrich: Enrich
    serving: Serving
    encode: Encode
    limits: Callable[[], SizeLimits]

    def __call__(self, records: Records, log: LogState = _BEGINNING) -> Processed:
        """Run the stages on ``records``.

        Args:
            records: Records of a micro-batch.
            log: State of the log before them.

        Raises:
            DependencyUnavailableError: The online store or the registry is away.
        """
        timer, serving = _Timer(), self.serving
        batch, letters = self.decode(records)
        timer.end("decode")
        enriched = self.enrich(batch, log)
        timer.end("enrich")
        scored = serving.score(enriched)
        timer.end("score")
        decided = serving.decide(batch, enriched, scored)
        timer.end("decide")
        explained = serving.explain(scored, decided)
        timer.end("explain")
        values = self.encode(batch, enriched, scored, decided, explained)
        timer.end("encode")
        processed = Processed(
            batch.records,
            self._keys(batch),
            values,
            self.encode.headers(batch),
            letters,
            scored.model,
            scored.scores,
            decided,
            self.enrich.feature_set.flags,
            enriched.flags,
            timer.seconds,
            enriched.writes,
            enriched.after,
            0 if explained is None else len(explained.rows),
            0 if explained is None else explained.not_additive,
            self.enrich.coverage(enriched),
        )
        unscored = _unscored(batch.records, scored)
        return processed.with_letters(not_taken(processed, self.limits()) | unscored)

    def _keys(self, batch: EventBatch) -> Sequence[bytes | None]:
        """Keys of the scores: those of the records, or their tokens."""
        keys, tokens = batch.records.keys, self.enrich.feature_set.bindings.record_tokens
        return keys if tokens is None else tokens.of_record_keys(keys)


def not_taken(processed: Processed, limits: SizeLimits) -> dict[int, DeadLetter]:
    """Dead letters, by row, for the scores that the output topic is known to refuse."""
    values = processed.values
    errors = dict.fromkeys(without_key(processed.keys, limits), _KEYLESS)
    for row in too_large(values, processed.keys, processed.headers, limits):
        errors[row] = score_too_large(len(values[row]))
    return {
        row: dead_letter(processed.records, row, error, Stage.PUBLISH, None)
        for row, error in errors.items()
    }


def _unscored(records: Records, scored: Scored) -> dict[int, DeadLetter]:
    """Dead letters, by row, for the events for which the model gives no number."""
    model = scored.model
    error = RecordError(
        ErrorCode.SCORE_NOT_FINITE,
        f"the model {model.name} {model.version} gives no finite number for it: a feature is "
        "beyond those that it was trained on; bound the feature in features.yaml or in the model",
    )
    return {
        row: dead_letter(records, row, error, Stage.SCORE, None) for row in scored.unscored.tolist()
    }


_KEYLESS = RecordError(
    ErrorCode.OUTPUT_REFUSED,
    "it has no key, and the output topic is compacted and accepts no score without one; give the "
    "records of the input topic a key, or set cleanup.policy of the output topic to delete",
)


def score_too_large(size: int) -> RecordError:
    """Error of a record whose score of ``size`` bytes is too large for the output topic."""
    return RecordError(
        ErrorCode.OUTPUT_TOO_LARGE,
        f"its score takes {size} bytes, more than the output topic allows with key and headers; "
        "carry less (output.carry, output.vector, output.headers) or raise max.message.bytes",
    )
