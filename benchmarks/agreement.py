"""Check that all programs do the same work: one score for each event, and the same scores."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro

from benchmarks.programs import ROOT, Run, RunError
from benchmarks.testbed import Testbed
from tools.topics.topic_log import read_to_end

TOLERANCE = 1e-6
EVERY = 101
"""Interval of the compared records; a position holds the same event for every program."""
_PREFIX_BYTES = 5

Place = tuple[int, int]


@dataclass(slots=True)
class Agreement:
    """Compare the scores of programs by their place: output partition and number within it.

    Events keep their key and their order. The place of a score, counted from the first offset of
    the run, is therefore the position of its event.

    Attributes:
        every: Interval of the compared records.
        compared: Number of scores that were compared with those of another program.
    """

    every: int = EVERY
    _scores: dict[Place, dict[str, Any]] = field(default_factory=dict)
    _schema: Any = None
    compared: int = 0

    def check_scores(self, testbed: Testbed, run: Run, committed: int) -> None:
        """Check that each committed event has one score, equal to that of the other programs.

        Raises:
            RunError: The number of scores is wrong, or a score differs.
        """
        for place, value in self._sample(testbed, run, committed):
            score = self._decode(value)
            source = score["source"]
            # The programs may read topics of their own, with the same events at the same places.
            if source.pop("topic") != run.input_topic or tuple(source.values()) != place:
                raise RunError(f"{run.name}: the score at {place} is of {source}")
            score.pop("scored_at")
            known = self._scores.setdefault(place, score)
            if not same(known, score):
                raise RunError(
                    f"{run.name}: the score at {place} differs from that of another program:\n"
                    f"{score}\n{known}"
                )
            self.compared += known is not score

    def check_count(self, testbed: Testbed, run: Run, committed: int) -> None:
        """Check that each committed event has one record.

        Raises:
            RunError: The number of records is wrong.
        """
        self._sample(testbed, run, committed)

    def _sample(self, testbed: Testbed, run: Run, committed: int) -> list[tuple[Place, bytes]]:
        seen: dict[int, int] = defaultdict(lambda: run.first)
        sample = []
        for chunk in read_to_end(testbed.kafka.bootstrap, run.output_topic):
            for partition, value in zip(chunk.partitions.tolist(), chunk.values, strict=True):
                if seen[partition] % self.every == 0:
                    sample.append(((partition, seen[partition]), value or b""))
                seen[partition] += 1
        records = sum(number - run.first for number in seen.values())
        if records != committed:
            raise RunError(f"{run.name}: {committed} events were committed, {records} records read")
        return sample

    def _decode(self, value: bytes) -> dict[str, Any]:
        if self._schema is None:
            path: Path = ROOT / "schemas" / "score.avsc"
            self._schema = fastavro.parse_schema(json.loads(path.read_text()))
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(value[_PREFIX_BYTES:]), self._schema, None
        )
        return dict(record)


def same(a: Any, b: Any) -> bool:
    """Return True if two decoded values are equal, numbers within the tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(
            a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE
        )
    return bool(a == b)
