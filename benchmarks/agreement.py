"""That all programs do the same work: as many scores as events, and the same ones."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro

from benchmarks.ground import Ground
from benchmarks.programs import ROOT, Run, RunError
from tools.topics.topic_log import read_to_end

TOLERANCE = 1e-6
EVERY = 101
"""One record in so many is compared; each position is the same event for every program."""
_PREFIX_BYTES = 5

Place = tuple[int, int]


@dataclass(slots=True)
class Agreement:
    """What was read so far, by place in the output: partition, and number within it.

    Events keep their key and their order, so a score's place, counted from where the run began, is
    its event's position. every: one record in so many is compared.
    """

    every: int = EVERY
    _scores: dict[Place, dict[str, Any]] = field(default_factory=dict)
    _schema: Any = None
    compared: int = 0

    def check_scores(self, ground: Ground, run: Run, committed: int) -> None:
        """One score for each committed event, like that of the other programs; else RunError."""
        for place, value in self._sample(ground, run, committed):
            score = self._decode(value)
            source = score["source"]
            if (source["partition"], source["offset"]) != place:
                raise RunError(f"{run.name}: the score at {place} is of {source}")
            score.pop("scored_at")
            known = self._scores.setdefault(place, score)
            if not same(known, score):
                raise RunError(
                    f"{run.name}: the score at {place} differs from that of another program:\n"
                    f"{score}\n{known}"
                )
            self.compared += known is not score

    def check_count(self, ground: Ground, run: Run, committed: int) -> None:
        """One record for each committed event; else RunError."""
        self._sample(ground, run, committed)

    def _sample(self, ground: Ground, run: Run, committed: int) -> list[tuple[Place, bytes]]:
        seen: dict[int, int] = defaultdict(lambda: run.first)
        sample = []
        for records in read_to_end(ground.kafka.bootstrap, run.output_topic):
            for partition, value in zip(records.partitions.tolist(), records.values, strict=True):
                if seen[partition] % self.every == 0:
                    sample.append(((partition, seen[partition]), value or b""))
                seen[partition] += 1
        found = sum(number - run.first for number in seen.values())
        if found != committed:
            raise RunError(f"{run.name}: {committed} events were committed, {found} records read")
        return sample

    def _decode(self, value: bytes) -> dict[str, Any]:
        if self._schema is None:
            path: Path = ROOT / "schemas" / "score.avsc"
            self._schema = fastavro.parse_schema(json.loads(path.read_text()))
        found: Any = fastavro.schemaless_reader(
            io.BytesIO(value[_PREFIX_BYTES:]), self._schema, None
        )
        return dict(found)


def same(a: Any, b: Any) -> bool:
    """Whether two decoded values are equal, numbers within the tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(
            a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE
        )
    return bool(a == b)
