"""Hand-made scores in the worker's format."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import fastavro

from worker.schema_sources import framed, score_schema

SCHEMA = fastavro.parse_schema(score_schema())


@dataclass(frozen=True)
class Score:
    """A score with the position of its input record."""

    partition: int
    offset: int
    time: int
    card: str | None
    score: float
    decision: str
    label: int = -1
    topic: str = "transactions"
    event_id: str | None = None
    version: str = "1"

    @property
    def place(self) -> tuple[str, int, int]:
        return (self.topic, self.partition, self.offset)

    @property
    def id(self) -> str:
        return self.event_id or f"{self.partition}-{self.offset}"

    def record(self) -> bytes:
        out = io.BytesIO()
        record: dict[str, Any] = {
            "event_id": self.id,
            "event_time": self.time,
            "decision": self.decision,
            "score": self.score,
            "margin": 0.0,
            "reasons": [],
            "segment": "default",
            "model": {"name": "m", "version": self.version},
            "policy_version": "p",
            "feature_set": "f",
            "device": "cpu",
            "flags": [],
            "source": {"topic": self.topic, "partition": self.partition, "offset": self.offset},
            "scored_at": 0,
        }
        fastavro.schemaless_writer(out, SCHEMA, record)
        return framed(2) + out.getvalue()
