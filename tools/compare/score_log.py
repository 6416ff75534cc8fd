"""Reading of one worker's scores and dead letters from its topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import Longs
from base.errors import ConfigurationError
from features.values.hash64 import KEY_BYTES, hash_ids
from schemas.batch import Records
from tools.compare.score_columns import ScoreCategories, ScoreColumns, once
from tools.topics.score_decoder import ScoreDecoder
from tools.topics.topic_log import TopicLog
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
            partition; None if dead letters cannot be read.
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
        categories: ScoreCategories,
        period: Period,
        labels_of: LabelsOf | None,
    ) -> None:
        """Prepare the decoder.

        Args:
            settings: The settings of the worker.
            categories: Categories, which grow with the scores.
            period: Event times of the scores to keep.
            labels_of: Function that labels the scores; None for no labels.
        """
        framed = settings.wire.framing == "confluent"
        self._decoder = ScoreDecoder(_PATHS, framed=framed, registry=settings.registry)
        self._categories, self._period = categories, period
        self._labels_of = labels_of
        self._parts: list[ScoreColumns] = []
        self._spans: dict[Place, OffsetRange] = {}

    def add(self, records: Records) -> None:
        """Decode records. Raises ConfigurationError for a record that is not a score."""
        scores = self._scores(self._decoder.decode(records), records)
        self._widen(scores)
        times = scores.times
        kept = (times >= self._period.begin) & (times < self._period.end)
        self._parts.append(scores if kept.all() else scores.take(kept))

    def finish(self, topic: str, default: str, letters: Mapping[Place, Longs] | None) -> ScoreLog:
        """Scores of all records that were added.

        Args:
            topic: Output topic.
            default: The policy's decision for scores below every band.
            letters: Offsets of dead letters; None if they cannot be read.

        Raises:
            ConfigurationError: None of the scores is of the period.
        """
        if not any(map(len, self._parts)):
            period = " of these days" if self._spans else ""
            raise ConfigurationError(
                f"{topic}: there are no scores{period}; let its worker score events, or choose other "
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
        events, categories = hash_ids(ids, _KEY), self._categories
        return ScoreColumns(
            categories.topics.codes(values["source.topic"]),
            values["source.partition"].astype(np.int32),
            values["source.offset"],
            times,
            values["score"],
            categories.decisions.codes(values["decision"]),
            categories.made_by(*(values[path] for path in _PATHS[4:8])),
            events,
            _cards(records, events),
            labels,
        )

    def _widen(self, scores: ScoreColumns) -> None:
        places = np.stack([scores.topics, scores.partitions])
        for topic, partition in np.unique(places, axis=1).T.tolist():
            place = (self._categories.topics.texts[topic], partition)
            offsets = scores.offsets[(places[0] == topic) & (places[1] == partition)]
            first, last = int(offsets.min()), int(offsets.max())
            known = self._spans.get(place, OffsetRange(first, last))
            self._spans[place] = OffsetRange(min(known.first, first), max(known.last, last))


def read_letters(log: TopicLog) -> dict[Place, Longs]:
    """Read the positions of the records that became dead letters."""
    letters: dict[Place, set[int]] = {}
    wanted = [HEADER_PREFIX + name for name in ("topic", "partition", "offset")]
    for records in log:
        for headers in records.headers or []:
            named = {name: value for name, value in headers or [] if name in wanted}
            if len(named) == len(wanted):
                topic, partition, offset = (named[name] or b"" for name in wanted)
                # Other programs may write into the topic, with the same names.
                with suppress(ValueError):
                    place = topic.decode(), int(partition)
                    letters.setdefault(place, set()).add(int(offset))
    return {place: np.array(sorted(offsets), np.int64) for place, offsets in letters.items()}


def _cards(records: Records, events: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    keys = pa.array(records.keys, pa.binary())
    cards = hash_ids(keys.fill_null(b""), _KEY)
    return np.where(keys.is_valid().to_numpy(zero_copy_only=False), cards, events)
