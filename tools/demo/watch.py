"""Scores and dead letters as they arrive, for the display."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from base.arrays import Floats, Longs
from schemas.batch import Records
from tools.demo.player import Played
from tools.demo.reader import Arrivals, Latency, Reader
from tools.topics.score_decoder import ScoreDecoder
from worker.consume.micro_batch import records_of

SCORE_PATHS = ("event_id", "decision", "score", "source.partition", "source.offset")
_RECENT_MS = 3_000
_SUSPICIOUS = 6


@dataclass(frozen=True, slots=True, eq=False)
class DemoScores:
    """Columns of N scores, in the order of ``SCORE_PATHS``.

    Attributes:
        event_ids: StringArray[N].
        decisions: StringArray[N].
        scores: float64[N].
        partitions: int64[N], of the input records.
        offsets: int64[N], of the input records.
    """

    event_ids: pa.StringArray
    decisions: pa.StringArray
    scores: Floats
    partitions: Longs
    offsets: Longs

    @classmethod
    def decode(cls, decoder: ScoreDecoder, records: Records) -> DemoScores:
        """Decode records of the output topic. Raises ConfigurationError if one is not a score."""
        decoded = decoder.decode(records)
        return cls(*(decoded[path] for path in SCORE_PATHS))


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Score whose decision is not the default."""

    event_id: str
    score: float
    decision: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts of the live events; rate and latency are those of the last seconds."""

    scores: int
    dead_letters: int
    events_per_s: float
    latency: Latency
    decisions: dict[str, int]
    suspicious: list[Suspicious]


class Watch:
    """Answers to the live events, decoded when the display asks for them."""

    def __init__(self, reader: Reader, output_topic: str, default: str) -> None:
        self._reader = reader
        self._output, self._default = output_topic, default
        self._decoder = ScoreDecoder(SCORE_PATHS)
        self._parts: list[Arrivals] = []
        self._decisions: Counter[str] = Counter()
        self._suspicious: deque[Suspicious] = deque(maxlen=_SUSPICIOUS)
        self._scores = self._dead_letters = 0

    def snapshot(self, played: Played) -> Snapshot:
        """Decode the answers since the last snapshot, and summarize those to ``played``."""
        self._decode()
        since_ms = time.time() * 1000 - _RECENT_MS
        recent = Arrivals.concatenate(
            [part for part in self._parts if part.at_ms[-1] > since_ms]
        ).since(since_ms)
        return Snapshot(
            self._scores,
            self._dead_letters,
            len(recent.offsets) / _RECENT_MS * 1000,
            recent.latency(played),
            dict(self._decisions),
            list(self._suspicious),
        )

    def arrivals(self) -> Arrivals:
        """Decode the answers that are left; return the arrivals of all scores."""
        self._decode()
        return Arrivals.concatenate(self._parts)

    def _decode(self) -> None:
        arrived = [(at_ms, m) for at_ms, messages in self._reader.take() for m in messages]
        scored = [(at_ms, m) for at_ms, m in arrived if m.topic() == self._output]
        self._dead_letters += len(arrived) - len(scored)
        if not scored:
            return
        self._scores += len(scored)
        records = records_of(self._output, [m for _, m in scored])
        scores = DemoScores.decode(self._decoder, records)
        at_ms = np.array([at_ms for at_ms, _ in scored])
        self._parts.append(Arrivals(scores.partitions, scores.offsets, at_ms))
        self._count(scores)

    def _count(self, scores: DemoScores) -> None:
        decisions = scores.decisions.to_pylist()
        self._decisions.update(decisions)
        rows = [row for row, decision in enumerate(decisions) if decision != self._default]
        for row in rows[-_SUSPICIOUS:]:
            self._suspicious.append(
                Suspicious(scores.event_ids[row].as_py(), float(scores.scores[row]), decisions[row])
            )
