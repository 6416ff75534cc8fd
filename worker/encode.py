"""Encode: one framed score record for each event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.matrix import Enriched
from schemas.batch import Column, EventBatch, Headers, Kind
from schemas.encode import Encoded, Field, MapOf, Options, RecordEncoder
from schemas.text import as_text
from worker.decide import Decided
from worker.score import Scored


@dataclass(frozen=True, slots=True)
class Provenance:
    """What every score of a process says of where it comes from."""

    model_name: str
    model_version: str
    feature_set: str
    device: str
    topic: str


@dataclass(frozen=True, slots=True)
class Extras:
    """What a score carries besides.

    vector: names of features whose values go on the score, with their columns in the matrix.
    carry: paths of event fields to copy. headers: names of record headers to copy.
    """

    vector: Mapping[str, int]
    carry: Sequence[str]
    headers: Sequence[str]


class Encode:
    """Writes scores after ``score.avsc``.

    flag_names: the meaning of bit i of the flags. now_us: gives `scored_at` in microseconds since
    1970-01-01 UTC.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        prefix: bytes,
        provenance: Provenance,
        extras: Extras,
        flag_names: Sequence[str],
        now_us: Callable[[], int],
    ) -> None:
        self._encoder = RecordEncoder(schema, prefix)
        self._fixed: dict[str, Field] = {
            path: self._encoder.constant(path, value)
            for path, value in {
                "reasons": [],
                "model": {"name": provenance.model_name, "version": provenance.model_version},
                "feature_set": provenance.feature_set,
                "device": provenance.device,
                "source.topic": provenance.topic,
            }.items()
        }
        self._no_flags = self._encoder.constant("flags", [])
        self._flag_names = tuple(flag_names)
        self._vector = dict(extras.vector)
        self._carry = tuple(extras.carry)
        self._copied_headers = frozenset(extras.headers)
        self._now_us = now_us
        self._policies: dict[tuple[str, ...], tuple[Options, dict[str, Field]]] = {}

    def __call__(
        self, batch: EventBatch, enriched: Enriched, scored: Scored, decided: Decided
    ) -> list[bytes]:
        """The framed records, in the order of the events."""
        n = len(batch)
        decisions, fixed = self._policy(decided)
        fields: dict[str, Field] = {
            **self._fixed,
            **fixed,
            "event_id": _all(Kind.STRING, batch.event_id),
            "event_time": _all(Kind.TIME, batch.event_time),
            "decision": decisions.at(decided.codes),
            "score": _all(Kind.DOUBLE, scored.scores),
            "margin": _all(Kind.DOUBLE, scored.margins),
            "flags": self._flags(enriched.flags),
            "source.partition": _all(Kind.LONG, batch.records.partitions),
            "source.offset": _all(Kind.LONG, batch.records.offsets),
            "scored_at": _all(Kind.TIME, np.full(n, self._now_us(), np.int64)),
        }
        if self._carry:
            fields["carried"] = MapOf({path: as_text(batch.columns[path]) for path in self._carry})
        if self._vector:
            fields["vector"] = MapOf(
                {
                    name: _all(Kind.DOUBLE, enriched.matrix[:, column])
                    for name, column in self._vector.items()
                }
            )
        return self._encoder.encode(n, fields)

    def headers(self, batch: EventBatch) -> list[Headers] | None:
        """The headers to copy onto each score; None when there are none in the micro-batch."""
        if not self._copied_headers or batch.records.headers is None:
            return None
        return [
            [item for item in own or () if item[0] in self._copied_headers]
            for own in batch.records.headers
        ]

    def _policy(self, decided: Decided) -> tuple[Options, dict[str, Field]]:
        key = (decided.policy_version, decided.segment, *decided.names)
        if key not in self._policies:
            self._policies[key] = (
                self._encoder.options("decision", decided.names),
                {
                    "segment": self._encoder.constant("segment", decided.segment),
                    "policy_version": self._encoder.constant(
                        "policy_version", decided.policy_version
                    ),
                },
            )
        return self._policies[key]

    def _flags(self, flags: npt.NDArray[np.uint32]) -> Field:
        if not flags.any():
            return self._no_flags
        found, codes = np.unique(flags, return_inverse=True)
        named = [
            [name for bit, name in enumerate(self._flag_names) if mask >> bit & 1]
            for mask in found.tolist()
        ]
        chosen: Encoded = self._encoder.options("flags", named).at(codes)
        return chosen


def _all(kind: Kind, values: npt.NDArray[Any] | pa.StringArray) -> Column:
    return Column(kind, values, np.ones(len(values), np.bool_))
