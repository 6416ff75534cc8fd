"""The keys of histories in an online store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Self

LABEL_LAYOUT = "l1"


@dataclass(frozen=True, slots=True)
class Namespace:
    """Keeps apart what must not be mixed: states, topics, partition counts and layouts.

    topic_id: Kafka's own id of the input topic, which changes when a topic is made anew.
    """

    feature_set: str
    state: str
    topic_id: str
    partitions: int

    @classmethod
    def local(cls, feature_set: str) -> Self:
        """Of a store that serves one run over files."""
        return cls(feature_set, "local", "files", 1)

    @property
    def record_key(self) -> bytes:
        """Where the store remembers which topic a state belongs to."""
        return f"fw:{self.feature_set}:{self.state}:topic".encode()

    def history_prefix(self, entity: str, layout: str) -> bytes:
        """What the keys of an entity's histories begin with; ``layout``: the digest of its fields."""
        log = json.dumps([self.topic_id, self.partitions, layout])
        digest = hashlib.sha256(log.encode()).hexdigest()[:12]
        return f"fw:{self.feature_set}:{self.state}:history:{entity}:{digest}:".encode()

    def label_prefix(self, entity: str) -> bytes:
        """What the keys of an entity's labels begin with: those of any topic and layout."""
        return f"fw:{self.feature_set}:{self.state}:labels:{entity}:{LABEL_LAYOUT}:".encode()
