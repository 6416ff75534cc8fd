"""Keys of histories and labels in an online store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from features.values.hash64 import PROCESS_KEY, fingerprint

LABEL_LAYOUT = "l2"


def record_key(feature_set: str, state: str) -> bytes:
    """The key of a state's record in the store."""
    return f"fw:{feature_set}:{state}:topic".encode()


def history_keys(feature_set: str, state: str, kind: str = "history") -> bytes:
    """Prefix of the keys of all histories of a state; ``kind`` is "marks" for their marks."""
    return f"fw:{feature_set}:{state}:{kind}:".encode()


@dataclass(frozen=True, slots=True)
class Namespace:
    """Separation of stored data by state, topic, partition count, hash key and layout.

    Attributes:
        feature_set: Name of the feature set.
        state: Name of the state.
        topic_id: Kafka's own id of the input topic; changes when a topic is created anew.
        partitions: Number of partitions of the input topic.
        key: Key of the hashes of event ids and texts.
        generations: Random text by entity that separates its histories from earlier ones, for
            entities whose histories began anew under an existing state.
    """

    feature_set: str
    state: str
    topic_id: str
    partitions: int
    key: bytes = field(repr=False)
    generations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def local(cls, feature_set: str) -> Self:
        """Namespace for a store that serves one run over files."""
        return cls(feature_set, "local", "files", 1, PROCESS_KEY)

    def history_digest(self, entity: str, layout: str) -> str:
        """Digest that identifies an entity's histories; changes if they begin anew.

        Args:
            entity: Name of the entity.
            layout: Digest of the fields of their members.
        """
        log = self.topic_id, self.partitions, layout, entity
        return _digest(*log, self.generations.get(entity), fingerprint(self.key))

    def history_prefix(self, entity: str, layout: str) -> bytes:
        """Prefix of the keys of an entity's histories; ``layout`` as in `history_digest`."""
        digest = self.history_digest(entity, layout)
        return f"fw:{self.feature_set}:{self.state}:history:{entity}:{digest}:".encode()

    def marks_key(self, entity: str, layout: str) -> bytes:
        """Key of the marks of an entity's histories; ``layout`` as in `history_digest`."""
        digest = self.history_digest(entity, layout)
        return f"fw:{self.feature_set}:{self.state}:marks:{entity}:{digest}".encode()

    def label_prefix(self, entity: str) -> bytes:
        """Prefix of the keys of an entity's labels, the same for any topic and layout."""
        digest = _digest(LABEL_LAYOUT, fingerprint(self.key))
        return f"fw:{self.feature_set}:{self.state}:labels:{entity}:{digest}:".encode()

    def label_marks_key(self, topic_id: str, entities: Iterable[str]) -> bytes:
        """Key of the marks of a labels topic.

        Args:
            topic_id: Kafka's id of the labels topic.
            entities: Entities whose labels are stored.
        """
        own = LABEL_LAYOUT, fingerprint(self.key), topic_id
        digest = _digest(*own, *sorted(entities))
        return f"fw:{self.feature_set}:{self.state}:marks:labels:{digest}".encode()


@lru_cache(1024)
def _digest(*values: str | int | None) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
