"""Audit of the demo: compare each input record with its score or dead letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from base.arrays import Longs
from models.training.metrics import average_precision
from schemas.batch import Records
from tools.demo.player import Played
from tools.demo.reader import Latency
from tools.demo.watch import SCORE_PATHS, DemoScores
from tools.topics.score_decoder import ScoreDecoder
from tools.topics.topic_log import read_to_end
from worker.stages.dead_letter import HEADER_PREFIX

# Partition and offset as one number; Kafka's offsets stay far below.
_PARTITION_STEP = 2**48


@dataclass(frozen=True, slots=True)
class Verdict:
    """Results of the demo, measured from the topics.

    Attributes:
        events: Number of all records of the input topic.
        history: Number of its first records that were history.
        scores: Number of scores.
        dead_letters: Number of dead letters.
        lost: Number of positions with neither score nor dead letter.
        duplicates: Number of scores and dead letters beyond the first of a position.
        events_per_s: Rate of the live events.
        latency_ms: Latency of the live events.
        pass_through_ms: Latency of a bare transactional loop on the same events; None if it was not
            measured.
        average_precision: Average precision on live events that the model was not trained on.
    """

    events: int
    history: int
    scores: int
    dead_letters: int
    lost: int
    duplicates: int
    events_per_s: float | None
    latency_ms: Latency
    pass_through_ms: Latency | None
    average_precision: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def clean(self) -> bool:
        """True if no event was lost and none was answered twice."""
        return self.lost == 0 and self.duplicates == 0


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """N records of a topic.

    Attributes:
        positions: int64[N], positions of the input records that they are or answer.
        timestamps: int64[N], their own timestamps in milliseconds.
    """

    positions: Longs
    timestamps: Longs

    def since(self, first: Longs) -> _Answers:
        """Select the records whose input offset is at least that of ``first``, by partition."""
        partitions, offsets = np.divmod(self.positions, _PARTITION_STEP)
        rows = offsets >= first[partitions]
        return _Answers(self.positions[rows], self.timestamps[rows])


def audit(
    bootstrap: str,
    topics: tuple[str, str, str],
    latencies: tuple[Latency, Latency | None],
    played: Played,
    seen: int,
) -> Verdict:
    """Read input, output and dead letters to their ends, and compare them.

    Args:
        bootstrap: Address of the brokers.
        topics: Names of the input, output and dead-letter topics.
        latencies: Latency of the live events, and of the pass-through.
        played: Events and labels of the live events.
        seen: Number of the first live events that the model may have been trained on.
    """
    input_topic, output_topic, dead_letter_topic = topics
    sent = _read(read_to_end(bootstrap, input_topic), _own_positions)
    letters = _read(read_to_end(bootstrap, dead_letter_topic), _named_positions)
    scored, event_ids, scores = _read_scores(bootstrap, output_topic)
    answered = np.concatenate([scored.positions, letters.positions])
    live = scored.since(played.first)
    took_s = _span_s(sent.since(played.first), live)
    return Verdict(
        events=len(sent.positions),
        history=int(played.first.sum()),
        scores=len(scored.positions),
        dead_letters=len(letters.positions),
        lost=len(np.setdiff1d(sent.positions, answered)),
        duplicates=len(answered) - len(np.unique(answered)),
        events_per_s=round(len(live.positions) / took_s, 1) if took_s else None,
        latency_ms=latencies[0],
        pass_through_ms=latencies[1],
        average_precision=_precision(event_ids, scores, played, seen),
    )


def _read(chunks: Iterable[Records], positions: Callable[[Records], Longs]) -> _Answers:
    """Read records; ``positions`` gives the positions of their input records, int64[N]."""
    numbers, timestamps = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for records in chunks:
        numbers.append(positions(records))
        timestamps.append(records.timestamps)
    return _Answers(np.concatenate(numbers), np.concatenate(timestamps))


def _own_positions(records: Records) -> Longs:
    return _as_numbers(records.partitions, records.offsets)


def _named_positions(records: Records) -> Longs:
    headers: list[dict[str, Any]] = [dict(of_one or []) for of_one in records.headers or []]
    partitions, offsets = (
        np.array([int(one[HEADER_PREFIX + name]) for one in headers], np.int64)
        for name in ("partition", "offset")
    )
    return _as_numbers(partitions, offsets)


def _as_numbers(partitions: npt.NDArray[Any], offsets: Longs) -> Longs:
    """Encode positions as one number each, int64[N]."""
    numbers: Longs = partitions.astype(np.int64) * _PARTITION_STEP + offsets
    return numbers


def _read_scores(
    bootstrap: str, topic: str
) -> tuple[_Answers, pa.ChunkedArray, npt.NDArray[np.float64]]:
    decoder = ScoreDecoder(SCORE_PATHS)
    ids, scores = [], [np.zeros(0)]

    def positions(records: Records) -> Longs:
        read = DemoScores.decode(decoder, records)
        ids.append(read.event_ids)
        scores.append(read.scores)
        return _as_numbers(read.partitions, read.offsets)

    answers = _read(read_to_end(bootstrap, topic), positions)
    return answers, pa.chunked_array(ids, pa.string()), np.concatenate(scores)


def _span_s(sent: _Answers, scored: _Answers) -> float | None:
    """Seconds from the first event's timestamp to the last score's."""
    if not len(sent.timestamps) or not len(scored.timestamps):
        return None
    return max(1, int(scored.timestamps.max() - sent.timestamps.min())) / 1000


def _precision(
    event_ids: pa.ChunkedArray, scores: npt.NDArray[np.float64], played: Played, first: int
) -> float | None:
    """Average precision of scores against the player's labels from ``first`` on, by event id."""
    if not played.labels:
        return None
    known = pa.chunked_array(played.event_ids, pa.string()).combine_chunks()[first:]
    labels = np.concatenate(played.labels)[first:]
    at = pc.index_in(event_ids, value_set=known)
    matched = pc.is_valid(at).to_numpy()
    chosen = labels[at.drop_null().to_numpy()]
    if not chosen.any():
        return None
    return round(average_precision(chosen, scores[matched]), 4)
