"""Encode: one framed score record for each event."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
import pyarrow as pa

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.values.flags import Bits, Flags
from models.reasons import Explained
from schemas.avro.encode.encoder import RecordEncoder
from schemas.avro.encode.fields import Chosen, Field, Filled, ListOf, Options, VectorOf
from schemas.avro.text import as_text
from schemas.batch import Column, EventBatch, Headers, Kind
from worker.settings.sections import Output
from worker.stages.serving import Decided, Model, Scored

T = TypeVar("T")

_CODE = "reasons.*.code"
_CONTRIBUTION = "reasons.*.contribution"
_FEATURES = "reasons.*.features"
_FEATURE_NAME = "reasons.*.features.*.name"
_FEATURE_VALUE = "reasons.*.features.*.value"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin that is written on every score of a process.

    Attributes:
        feature_set: Fingerprint of the feature set.
        topic: Input topic.
    """

    feature_set: str
    topic: str


@dataclass(frozen=True, slots=True)
class Extras:
    """Optional content of scores.

    Attributes:
        vector: Names of features whose values go on the score, with their columns in the matrix.
        carry: Paths of event fields to copy.
        headers: Names of record headers to copy.
    """

    vector: Mapping[str, int]
    carry: Sequence[str]
    headers: Sequence[str]

    @classmethod
    def of(cls, output: Output, feature_set: FeatureSet) -> Self:
        """The content that the settings ask for."""
        columns = {
            "off": (),
            "all": range(len(feature_set.names)),
            "irreproducible": feature_set.irreproducible,
        }[output.vector]
        vector = {feature_set.names[column]: column for column in columns}
        return cls(vector, output.carry, output.headers)


class _Policy(NamedTuple):
    """Encoded fields of scores that depend on the policy only."""

    decisions: Options
    segments: Options
    version: Field


class _Latest(Generic[T]):
    """Cache of the latest result of a function; it is called again when its arguments change."""

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._made: tuple[tuple[Hashable, ...], T] | None = None

    def __call__(self, *arguments: Hashable) -> T:
        if self._made is None or self._made[0] != arguments:
            self._made = (arguments, self._make(*arguments))
        return self._made[1]


class Encode:
    """Encode: scores to records of the schema ``score.avsc``.

    Args:
        schema: Schema of a score.
        prefix: Bytes that precede each score.
        provenance: Origin that is written on every score.
        extras: Optional content of scores.
        flags: Flags of the feature set.
        now_us: Returns `scored_at`, in microseconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        prefix: bytes,
        provenance: Provenance,
        extras: Extras,
        flags: Flags,
        now_us: Callable[[], int],
    ) -> None:
        self._encoder = RecordEncoder(schema, prefix)
        self._fixed: dict[str, Field] = {
            path: self._encoder.constant(path, value)
            for path, value in {
                "feature_set": provenance.feature_set,
                "source.topic": provenance.topic,
            }.items()
        }
        self._flags = self._encoder.options("flags.*", flags.names)
        self._bits = np.arange(len(flags.names), dtype=np.uint64)
        self._vector = tuple(extras.vector)
        self._vector_columns = np.array(list(extras.vector.values()), np.intp)
        self._carried = self._encoder.options("carried.*.key", extras.carry)
        self._carry = tuple(extras.carry)
        self._copied_headers = frozenset(extras.headers)
        self._now_us = now_us
        self._models = _Latest(self._model)
        self._policies = _Latest(self._policy)
        self._codings = _Latest(self._coding)

    def __call__(
        self,
        batch: EventBatch,
        enriched: Enriched,
        scored: Scored,
        decided: Decided,
        explained: Explained | None = None,
    ) -> list[bytes]:
        """Encode the framed records, in the order of the events."""
        n = len(batch)
        policy = self._policies(decided.policy_version, decided.names, decided.segment_names)
        fields: dict[str, Field] = {
            **self._fixed,
            **self._models(scored.model),
            "event_id": Filled(Kind.STRING, batch.event_id),
            "event_time": Filled(Kind.TIME, batch.event_time),
            "decision": Chosen(policy.decisions, decided.codes),
            "segment": Chosen(policy.segments, decided.segments),
            "policy_version": policy.version,
            "score": Filled(Kind.DOUBLE, scored.scores),
            "margin": Filled(Kind.DOUBLE, scored.margins),
            "flags": self._flagged(enriched.flags),
            "source.partition": Filled(Kind.LONG, batch.records.partitions),
            "source.offset": Filled(Kind.LONG, batch.records.offsets),
            "scored_at": Filled(Kind.TIME, np.full(n, self._now_us(), np.int64)),
        }
        if explained is not None:
            fields["reasons"] = self._reasons(n, explained)
        if self._carry:
            fields["carried"] = self._carried_fields(batch.columns)
        if self._vector:
            fields["vector"] = VectorOf(self._vector, enriched.matrix[:, self._vector_columns])
        return self._encoder.encode(n, fields)

    def headers(self, batch: EventBatch) -> list[Headers] | None:
        """Headers to copy to each score; None when the micro-batch has no headers."""
        if not self._copied_headers or batch.records.headers is None:
            return None
        return [
            [item for item in own or () if item[0] in self._copied_headers]
            for own in batch.records.headers
        ]

    def _model(self, model: Model) -> dict[str, Field]:
        name = {"name": model.name, "version": model.version}
        return {
            "model": self._encoder.constant("model", name),
            "device": self._encoder.constant("device", model.device),
        }

    def _policy(self, version: str, decisions: Sequence[str], segments: Sequence[str]) -> _Policy:
        options = self._encoder.options
        return _Policy(
            options("decision", decisions),
            options("segment", segments),
            self._encoder.constant("policy_version", version),
        )

    def _coding(self, codes: Sequence[str], features: Sequence[str]) -> tuple[Options, Options]:
        options = self._encoder.options
        return options(_CODE, codes), options(_FEATURE_NAME, features)

    def _reasons(self, n: int, explained: Explained) -> Field:
        codes, names = self._codings(explained.code_names, explained.feature_names)
        counts = np.zeros(n, np.int64)
        counts[explained.rows] = explained.counts
        features: dict[str, Field] = {
            _FEATURE_NAME: Chosen(names, explained.features),
            _FEATURE_VALUE: Filled(Kind.DOUBLE, explained.values),
        }
        reasons: dict[str, Field] = {
            _CODE: Chosen(codes, explained.codes),
            _CONTRIBUTION: Filled(Kind.DOUBLE, explained.contributions),
            _FEATURES: ListOf(explained.sizes, features),
        }
        return ListOf(counts, reasons)

    def _flagged(self, bits: Bits) -> Field:
        marked = bits[bits != 0, None] >> self._bits & np.uint64(1)
        return ListOf(
            np.bitwise_count(bits), {"flags.*": Chosen(self._flags, np.nonzero(marked)[1])}
        )

    def _carried_fields(self, columns: Mapping[str, Column]) -> Field:
        texts = [as_text(columns[path]) for path in self._carry]
        valid = np.stack([text.valid for text in texts], axis=1)
        rows, places = np.nonzero(valid)
        values = pa.concat_arrays([text.values for text in texts]).take(
            pa.array(places * len(valid) + rows)
        )
        return ListOf(
            valid.sum(axis=1),
            {
                "carried.*.key": Chosen(self._carried, places),
                "carried.*.value": Filled(Kind.STRING, values),
            },
        )
