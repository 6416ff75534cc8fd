"""Reading of one worker's scores and dead letters from its topics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import ConfigurationError
from features.values.hash64 import KEY_BYTES, hash_ids
from schemas.avro.decoder import Decoder
from schemas.avro.types import Type, parse_record_schema
from schemas.batch import Records
from schemas.registry.framing import SchemaId
from schemas.registry.source import SchemaSource
from tools.compare.scores import Longs, ScoreCategories, ScoreColumns, once
from tools.topics.log import TopicLog
from worker.schema_sources import registry_source, score_schema
from worker.settings import WorkerSettings
from worker.stages.dead_letter import HEADER_PREFIX

Place = tuple[str, int]
"""Topic and partition of an event."""
LabelsOf = Callable[[pa.StringArray, Longs], npt.NDArray[np.int8]]
"""Function from event ids StringArray[N] and times int64[N] to labels, as in `ScoreColumns`."""

_PATHS = (
    "event_id",
    "event_time",
    "decision",
    "score",
    "model.name",
    "model.version",
    "policy_version",
    "feature_set",
    "source.topic",
    "source.partition",
    "source.offset",
)
# A fixed hash key, so that cards with equal scores are ranked alike in every run.
_KEY = bytes(KEY_BYTES)
# Limits of one score, above what any topic accepts, so that none is refused for its size.
_MOST_BYTES = 2**30
_MOST_ITEMS = 2**20


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """First and last offset of one partition that a worker has scored."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoreLog:
    """Scores and dead letters of one worker.

    Attributes:
        topic: Output topic.
        default: The policy's decision for scores below every band.
        scores: Scores of the period, in order of position, one for each position.
        spans: Range of all scored offsets, by topic and partition.
        letters: int64[K], rising offsets of the records that became dead letters, by topic and
            partition; None where dead letters cannot be read.
        repeated: Number of scores beyond one for each position; at-least-once delivery writes such.
    """

    topic: str
    default: str
    scores: ScoreColumns
    spans: Mapping[Place, OffsetRange]
    letters: Mapping[Place, Longs] | None
    repeated: int


@dataclass(frozen=True, slots=True)
class Period:
    """Range of event times to compare, in microseconds since 1970-01-01 UTC.

    Attributes:
        begin: First time of the range.
        end: End of the range, exclusive.
    """

    begin: int = np.iinfo(np.int64).min
    end: int = np.iinfo(np.int64).max


class ScoreLogReader:
    """Decoder of the records of an output topic into `ScoreColumns`."""

    def __init__(
        self,
        settings: WorkerSettings,
        vocabulary: ScoreCategories,
        period: Period,
        labels_of: LabelsOf | None,
    ) -> None:
        """Prepare the decoder.

        Args:
            settings: The settings of the worker.
            vocabulary: Categories, which grow with the scores.
            period: Event times of the scores to keep.
            labels_of: Function that labels the scores; None for no labels.
        """
        self._decoder = Decoder(
            _schemas(settings), score_schema(), _PATHS, _MOST_BYTES, _MOST_ITEMS
        )
        self._vocabulary, self._period = vocabulary, period
        self._labels_of = labels_of
        self._parts: list[ScoreColumns] = []
        self._spans: dict[Place, OffsetRange] = {}

    def add(self, records: Records) -> None:
        """Decode records. Raises ConfigurationError for a record that is no score."""
        decoded = self._decoder.decode(records.values, records.headers)
        for row, error in decoded.errors.items():
            raise ConfigurationError(
                f"{records.topic}, partition {records.partitions[row]}, offset "
                f"{records.offsets[row]}: this is no score ({error.code.value}: {error.message}); "
                "name a topic that holds scores only, or its registry"
            )
        values: dict[str, Any] = {path: column.values for path, column in decoded.columns.items()}
        scores = self._scores(values, records)
        self._widen(scores)
        times = scores.times
        kept = (times >= self._period.begin) & (times < self._period.end)
        self._parts.append(scores if kept.all() else scores.take(kept))

    def side(self, topic: str, default: str, letters: Mapping[Place, Longs] | None) -> ScoreLog:
        """Scores of all records that were added.

        Args:
            topic: Output topic.
            default: The policy's decision for scores below every band.
            letters: Offsets of dead letters; None where they cannot be read.

        Raises:
            ConfigurationError: None of the scores is of the period.
        """
        if not any(map(len, self._parts)):
            found = "of these days" if self._spans else "at all"
            raise ConfigurationError(
                f"{topic} holds no scores {found}; have its worker score events, or compare other "
                "days with --since and --until"
            )
        scores, repeated = once(ScoreColumns.merged(self._parts))
        return ScoreLog(topic, default, scores, self._spans, letters, repeated)

    def _scores(self, values: Mapping[str, Any], records: Records) -> ScoreColumns:
        n = len(records)
        ids, times = values["event_id"], values["event_time"]
        labels = np.full(n, -1, np.int8)
        if self._labels_of is not None:
            labels = self._labels_of(ids, times)
        events, words = hash_ids(ids, _KEY), self._vocabulary
        return ScoreColumns(
            words.topics.codes(values["source.topic"]),
            values["source.partition"].astype(np.int32),
            values["source.offset"],
            times,
            values["score"],
            words.decisions.codes(values["decision"]),
            words.made_by(*(values[path] for path in _PATHS[4:8])),
            events,
            _cards(records, events),
            labels,
        )

    def _widen(self, scores: ScoreColumns) -> None:
        places = np.stack([scores.topics, scores.partitions])
        for topic, partition in np.unique(places, axis=1).T.tolist():
            place = (self._vocabulary.topics.texts[topic], partition)
            offsets = scores.offsets[(places[0] == topic) & (places[1] == partition)]
            first, last = int(offsets.min()), int(offsets.max())
            known = self._spans.get(place, OffsetRange(first, last))
            self._spans[place] = OffsetRange(min(known.first, first), max(known.last, last))


def read_letters(log: TopicLog) -> dict[Place, Longs]:
    """Read the positions of the records that became dead letters."""
    found: dict[Place, set[int]] = {}
    wanted = [HEADER_PREFIX + name for name in ("topic", "partition", "offset")]
    for records in log:
        for headers in records.headers or []:
            told = {name: value for name, value in headers or [] if name in wanted}
            if len(told) == len(wanted):
                topic, partition, offset = (told[name] or b"" for name in wanted)
                # Other programs may write into the topic, with the same names.
                with suppress(ValueError):
                    place = topic.decode(), int(partition)
                    found.setdefault(place, set()).add(int(offset))
    return {place: np.array(sorted(offsets), np.int64) for place, offsets in found.items()}


def _cards(records: Records, events: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    keys = pa.array(records.keys, pa.binary())
    cards = hash_ids(keys.fill_null(b""), _KEY)
    return np.where(keys.is_valid().to_numpy(zero_copy_only=False), cards, events)


def _schemas(settings: WorkerSettings) -> SchemaSource:
    if settings.registry is not None:
        return registry_source(settings.registry)
    return _OwnSchema(settings.wire.framing == "confluent", parse_record_schema(score_schema()))


@dataclass(frozen=True, slots=True)
class _OwnSchema:
    """Schema source that gives score.avsc for every id: an output topic holds only scores."""

    framed: bool
    schema: Type

    def get_all(self, schema_ids: Collection[SchemaId]) -> dict[SchemaId, Type]:
        return dict.fromkeys(schema_ids, self.schema)
